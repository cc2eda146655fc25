#pragma once

#include <cstdint>
#include <future>

#include "halfsafe/sample.h"

namespace halfsafe {

/// Samples of a source in order, each read and decoded on a thread of its own while the caller works on the
/// one before. Two samples are in memory at a time. Nobody else may read the source meanwhile.
class ReadAhead {
 public:
  /// From sample `begin` on. `source` must outlive the reader.
  ReadAhead(const SampleSource& source, uint64_t begin);
  /// The next sample; there must be one. Throws what reading it threw: the one after it can still be had.
  Sample Next();

 private:
  void Start();

  const SampleSource& source_;
  uint64_t next_;
  std::future<Sample> reading_;  ///< Sample `next_`.
};

}  // namespace halfsafe
