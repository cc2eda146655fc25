#include <utility>

#include "base/file.h"
#include "halfsafe/sample.h"

namespace halfsafe {

struct SpooledSamples::Impl {
  /// A sample, and where in the file the bytes of its inputs begin where it lies there.
  struct Kept {
    Sample sample;
    std::vector<std::pair<uint64_t, uint64_t>> places;  ///< Offset and size of each input; empty in memory.
  };

  uint64_t memory;  ///< Bytes that are left.
  std::vector<Kept> samples;
  std::unique_ptr<ScratchFile> file;
};

SpooledSamples::SpooledSamples(uint64_t memory) : impl_(std::make_unique<Impl>()) { impl_->memory = memory; }
SpooledSamples::~SpooledSamples() = default;

void SpooledSamples::Add(Sample sample) {
  uint64_t bytes = 0;
  for (const NamedArray& input : sample.inputs) bytes += input.array.bytes.size();
  Impl::Kept kept{std::move(sample), {}};
  if (bytes <= impl_->memory) {
    impl_->memory -= bytes;
  } else {
    if (impl_->file == nullptr) impl_->file = std::make_unique<ScratchFile>();
    for (NamedArray& input : kept.sample.inputs) {
      kept.places.emplace_back(impl_->file->Append(input.array.bytes), input.array.bytes.size());
      input.array.bytes = {};
    }
  }
  impl_->samples.push_back(std::move(kept));
}

uint64_t SpooledSamples::size() const { return impl_->samples.size(); }

std::string SpooledSamples::Name(uint64_t index) const { return impl_->samples.at(index).sample.name; }

Sample SpooledSamples::Read(uint64_t index) const {
  const Impl::Kept& kept = impl_->samples.at(index);
  Sample sample = kept.sample;
  for (size_t i = 0; i < kept.places.size(); ++i) {
    const auto [offset, size] = kept.places[i];
    sample.inputs[i].array.bytes.resize(size);
    impl_->file->Read(offset, sample.inputs[i].array.bytes);
  }
  return sample;
}

}  // namespace halfsafe
