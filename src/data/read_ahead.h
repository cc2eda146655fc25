#pragma once

#include <cstdint>
#include <deque>
#include <future>

#include "halfsafe/sample.h"

namespace halfsafe {

/// Samples of a source in order, each read and decoded on a thread of its own while the caller works on the
/// one before. `depth` of them are read at the same time, where the source allows more than one, and are in
/// memory beside the caller's. Nobody else may read the source meanwhile.
class ReadAhead {
 public:
  /// From sample `begin` on. `source` must outlive the reader.
  ReadAhead(const SampleSource& source, uint64_t begin, size_t depth = 1);
  /// The next sample; there must be one. Throws what reading it threw: the one after it can still be had.
  Sample Next();

 private:
  void Start();

  const SampleSource& source_;
  uint64_t next_;                            ///< The first that nobody reads yet.
  std::deque<std::future<Sample>> reading_;  ///< The samples before, in order.
};

}  // namespace halfsafe
