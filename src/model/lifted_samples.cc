#include "model/lifted_samples.h"

#include <fmt/format.h>

#include <algorithm>
#include <span>

#include "base/half_convert.h"
#include "halfsafe/error.h"
#include "model/weight_conversion.h"

namespace halfsafe {
namespace {

/// The inputs that are of 16 bits in the file.
std::vector<InputSpec> SixteenBitInputs(const Model& lifted) {
  if (lifted.AsStored() == nullptr) return {};
  std::vector<InputSpec> inputs = lifted.AsStored()->Inputs();
  std::erase_if(inputs, [](const InputSpec& input) { return !IsSixteenBit(input.dtype); });
  return inputs;
}

/// In FP32, what `array` holds in the input's type.
void Lift(const std::string& where, const InputSpec& input, Array* array) {
  if (array->dtype != input.dtype && array->dtype != DType::kFloat) {
    throw BadInput(fmt::format("{} is {}, the model expects {}, or float32 to be rounded to that", where,
                               DTypeName(array->dtype), DTypeName(input.dtype)));
  }
  const size_t count = array->bytes.size() / DTypeSize(array->dtype);
  std::vector<std::byte> bytes(count * sizeof(float));
  auto* values = reinterpret_cast<float*>(bytes.data());
  WidenValues(std::span(array->bytes).first(count * DTypeSize(array->dtype)), array->dtype, values);
  if (input.dtype == DType::kFloat16) {
    RoundValuesToHalf(values, count, values);
  } else {
    RoundValuesToBfloat16(values, count, values);
  }
  array->dtype = DType::kFloat;
  array->bytes = std::move(bytes);
}

/// The first of these inputs that the first sample gives in FP32.
std::optional<InputSpec> FirstRounded(const std::vector<InputSpec>& inputs, const SampleSource& samples) {
  if (samples.size() == 0) return std::nullopt;
  try {
    const Sample sample = samples.Read(0);
    for (const InputSpec& input : inputs) {
      const auto given = std::ranges::find(sample.inputs, input.name, &NamedArray::name);
      if (given == sample.inputs.end()) continue;
      const bool empty = given->sequence && given->sequence->empty();
      const Array& array = given->sequence && !empty ? given->sequence->front() : given->array;
      if (!empty && array.dtype == DType::kFloat) return input;
    }
  } catch (const Error&) {
    // What is wrong with it is for the stage to say that reads it.
  }
  return std::nullopt;
}

}  // namespace

LiftedSamples::LiftedSamples(const Model& lifted, const SampleSource& given, Progress* progress)
    : given_(given) {
  std::vector<InputSpec> inputs = SixteenBitInputs(lifted);
  if (inputs.empty() || dynamic_cast<const Source*>(&given) != nullptr) return;
  if (const std::optional<InputSpec> rounded = FirstRounded(inputs, given)) {
    progress->Warn(
        fmt::format("input {} is {} in the model and float32 in the samples: they are rounded to "
                    "it, for the reference too",
                    rounded->name, DTypeName(rounded->dtype)));
  }
  lifted_.emplace(std::move(inputs), given);
}

Sample LiftedSamples::Source::Read(uint64_t index) const {
  Sample sample = given_.Read(index);
  for (NamedArray& array : sample.inputs) {
    const auto input = std::ranges::find(inputs_, array.name, &InputSpec::name);
    if (input == inputs_.end()) continue;
    const std::string where = fmt::format("{}: input '{}'", sample.name, array.name);
    if (!array.sequence) Lift(where, *input, &array.array);
    for (size_t i = 0; array.sequence && i < array.sequence->size(); ++i)
      Lift(fmt::format("{}[{}]", where, i), *input, &(*array.sequence)[i]);
  }
  return sample;
}

}  // namespace halfsafe
