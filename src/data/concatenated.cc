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

std::pair<size_t, uint64_t> ConcatenatedSamples::Find(uint64_t index) const {
  const auto part = static_cast<size_t>(std::ranges::upper_bound(ends_, index) - ends_.begin());
  if (part == parts_.size()) {
    throw Error(ExitCode::kInternal, fmt::format("sample {} of {} was asked for", index, size()));
  }
  return {part, part == 0 ? index : index - ends_[part - 1]};
}

std::string ConcatenatedSamples::Name(uint64_t index) const {
  const auto [part, number] = Find(index);
  std::string name = parts_[part].source->Name(number);
  if (parts_[part].copy > 1) name += fmt::format("#{}", parts_[part].copy);
  return name;
}

Sample ConcatenatedSamples::Read(uint64_t index) const {
  const auto [part, number] = Find(index);
  Sample sample = parts_[part].source->Read(number);
  sample.name = Name(index);
  return sample;
}

}  // namespace halfsafe
