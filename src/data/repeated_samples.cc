#include <algorithm>

#include "halfsafe/sample.h"

namespace halfsafe {
namespace {

class RepeatedSamples : public SampleSource {
 public:
  RepeatedSamples(const SampleSource& source, const std::vector<InputSpec>& inputs, int64_t times)
      : source_(source), times_(times) {
    for (const InputSpec& input : inputs) {
      if (!input.sequence && !input.shape.empty() && input.shape.front() == -1)
        batched_.push_back(input.name);
    }
  }

  uint64_t size() const override { return source_.size(); }
  std::string Name(uint64_t index) const override { return source_.Name(index); }
  Sample Read(uint64_t index) const override {
    Sample sample = source_.Read(index);
    for (NamedArray& input : sample.inputs) {
      if (std::find(batched_.begin(), batched_.end(), input.name) != batched_.end()) Repeat(&input.array);
    }
    return sample;
  }

 private:
  void Repeat(Array* array) const {
    if (array->shape.empty()) return;  // What the model wants is for validation to say.
    array->shape.front() *= times_;
    const std::vector<std::byte> once = array->bytes;
    for (int64_t i = 1; i < times_; ++i) array->bytes.insert(array->bytes.end(), once.begin(), once.end());
  }

  const SampleSource& source_;
  int64_t times_;
  std::vector<std::string> batched_;
};

}  // namespace

std::unique_ptr<SampleSource> RepeatSamples(const SampleSource& source, const std::vector<InputSpec>& inputs,
                                            int64_t times) {
  return std::make_unique<RepeatedSamples>(source, inputs, times);
}

}  // namespace halfsafe
