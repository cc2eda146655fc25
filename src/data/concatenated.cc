#include "data/concatenated.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "halfsafe/error.h"

namespace halfsafe {

void ConcatenatedSamples::Add(std::unique_ptr<SampleSource> source, const std::string& label) {
  uint64_t end = 0;
  if (__builtin_add_overflow(size(), source->size(), &end))
    throw BadInput("more samples than can be counted");
  ends_.push_back(end);
  parts_.push_back({std::move(source), ++copies_[label]});
}

Sample ConcatenatedSamples::Read(uint64_t index) const {
  const auto part = static_cast<size_t>(std::ranges::upper_bound(ends_, index) - ends_.begin());
  if (part == parts_.size()) {
    throw Error(ExitCode::kInternal, fmt::format("sample {} of {} was asked for", index, size()));
  }
  const uint64_t begin = part == 0 ? 0 : ends_[part - 1];
  Sample sample = parts_[part].source->Read(index - begin);
  if (parts_[part].copy > 1) sample.name += fmt::format("#{}", parts_[part].copy);
  return sample;
}

}  // namespace halfsafe
