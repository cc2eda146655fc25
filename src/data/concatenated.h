#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "halfsafe/sample.h"

namespace halfsafe {

/// Sources one after the other, as one.
class ConcatenatedSamples : public SampleSource {
 public:
  /// Appends `source`. One whose `label` was there before (a path given twice) gets "#2", "#3" ... at the end
  /// of its samples' names, which keeps them unique.
  void Add(std::unique_ptr<SampleSource> source, const std::string& label);

  uint64_t size() const override { return ends_.empty() ? 0 : ends_.back(); }
  std::string Name(uint64_t index) const override;
  Sample Read(uint64_t index) const override;

 private:
  /// The part that sample `index` is in, and its number there.
  std::pair<size_t, uint64_t> Find(uint64_t index) const;

  struct Part {
    std::unique_ptr<SampleSource> source;
    uint64_t copy = 1;  ///< 2 for the second of that label.
  };
  std::vector<Part> parts_;
  std::vector<uint64_t> ends_;  ///< For each part, the number of samples up to its end.
  std::map<std::string, uint64_t> copies_;
};

}  // namespace halfsafe
