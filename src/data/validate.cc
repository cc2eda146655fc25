#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <numeric>
#include <optional>
#include <set>
#include <string_view>

#include "base/text.h"
#include "data/array.h"
#include "halfsafe/error.h"
#include "halfsafe/sample.h"

namespace halfsafe {
namespace {

std::string InputList(const std::vector<InputSpec>& inputs) {
  std::string text;
  for (const InputSpec& input : inputs) {
    text += fmt::format("{}'{}' {}{}{}", text.empty() ? "" : ", ", input.name,
                        input.sequence ? "sequence of " : "", DTypeName(input.dtype),
                        input.any_rank ? "" : ShapeText(input.shape));
  }
  return text.empty() ? "none" : text;
}

/// The first element that is NaN: its exponent is all ones and its fraction isn't zero. Infinity may be
/// meant, as in a mask.
template <typename Bits, Bits kExponent, Bits kFraction>
std::optional<size_t> FirstNan(const std::vector<std::byte>& bytes) {
  for (size_t i = 0; i + sizeof(Bits) <= bytes.size(); i += sizeof(Bits)) {
    Bits value;
    std::memcpy(&value, &bytes[i], sizeof(Bits));
    if ((value & kExponent) == kExponent && (value & kFraction) != 0) return i / sizeof(Bits);
  }
  return std::nullopt;
}

std::optional<size_t> FirstNan(const Array& array) {
  switch (array.dtype) {
    case DType::kFloat:
      return FirstNan<uint32_t, 0x7f800000, 0x007fffff>(array.bytes);
    case DType::kDouble:
      return FirstNan<uint64_t, 0x7ff0000000000000, 0x000fffffffffffff>(array.bytes);
    case DType::kFloat16:
      return FirstNan<uint16_t, 0x7c00, 0x03ff>(array.bytes);
    case DType::kBfloat16:
      return FirstNan<uint16_t, 0x7f80, 0x007f>(array.bytes);
    default:
      return std::nullopt;
  }
}

/// The index of element `at` along each axis, "[0, 2, 5]".
std::string IndexText(size_t at, const std::vector<int64_t>& shape) {
  std::vector<int64_t> index(shape.size());
  for (size_t axis = shape.size(); axis-- > 0;) {
    index[axis] = static_cast<int64_t>(at % static_cast<size_t>(shape[axis]));
    at /= static_cast<size_t>(shape[axis]);
  }
  return ShapeText(index);
}

void CheckNames(const Sample& sample, const std::vector<InputSpec>& inputs) {
  std::vector<std::string> missing, extra;
  std::set<std::string_view> expected_set, found;
  for (const InputSpec& input : inputs) expected_set.insert(input.name);
  for (const NamedArray& array : sample.inputs) {
    if (!found.insert(array.name).second) {
      throw BadInput(fmt::format("{}: input '{}' comes twice", sample.name, array.name));
    }
    if (!expected_set.contains(array.name)) extra.push_back(array.name);
  }
  for (const InputSpec& input : inputs) {
    if (!found.contains(input.name)) missing.push_back(input.name);
  }
  if (!extra.empty()) {
    const std::string guess = DidYouMean(extra[0], missing);
    throw BadInput(fmt::format("{}: found '{}', which is no input of the model{}; the model's inputs: {}",
                               sample.name, extra[0], guess, InputList(inputs)));
  }
  if (!missing.empty()) {
    throw BadInput(fmt::format("{}: lacks input '{}'; the model's inputs: {}", sample.name, missing[0],
                               InputList(inputs)));
  }
}

void CheckArray(const std::string& where, const Array& array, const InputSpec& input, bool allow_nan) {
  if (array.dtype != input.dtype) {
    throw BadInput(
        fmt::format("{} is {}, the model expects {}", where, DTypeName(array.dtype), DTypeName(input.dtype)));
  }
  bool fits = input.any_rank || array.shape.size() == input.shape.size();
  for (size_t i = 0; fits && !input.any_rank && i < array.shape.size(); ++i) {
    fits = input.shape[i] == -1 || input.shape[i] == array.shape[i];
  }
  // numpy makes [1] of a number in a list, and ONNX Runtime takes it for a scalar.
  fits = fits || (input.shape.empty() && array.shape == std::vector<int64_t>{1});
  if (!fits) {
    throw BadInput(fmt::format("{} has shape {}, the model expects {}", where, ShapeText(array.shape),
                               ShapeText(input.shape)));
  }
  if (array.dtype == DType::kString) {
    const size_t count = ArrayBytes(DType::kUint8, array.shape, where), found = StringsOf(array.bytes).size();
    if (found != count) {
      throw BadInput(fmt::format("{} of shape {} needs {} strings, found {}", where, ShapeText(array.shape),
                                 count, found));
    }
    return;
  }
  const size_t bytes = ArrayBytes(array.dtype, array.shape, where);
  if (array.bytes.size() != bytes) {
    throw BadInput(fmt::format("{} of shape {} needs {} bytes, found {}", where, ShapeText(array.shape),
                               bytes, array.bytes.size()));
  }
  if (allow_nan) return;
  if (const auto at = FirstNan(array)) {
    throw BadInput(fmt::format("{} is NaN at index {}, expected numbers; --allow-nan takes it", where,
                               IndexText(*at, array.shape)));
  }
}

}  // namespace

void ValidateSample(const Sample& sample, const std::vector<InputSpec>& inputs, bool allow_nan) {
  CheckNames(sample, inputs);
  for (const NamedArray& array : sample.inputs) {
    const auto input = std::ranges::find(inputs, array.name, &InputSpec::name);
    const std::string where = fmt::format("{}: input '{}'", sample.name, array.name);
    if (array.sequence.has_value() != input->sequence) {
      throw BadInput(fmt::format("{} is {}, the model expects {}", where,
                                 array.sequence ? "a sequence" : "a tensor",
                                 input->sequence ? "a sequence" : "a tensor"));
    }
    if (!array.sequence) CheckArray(where, array.array, *input, allow_nan);
    for (size_t i = 0; array.sequence && i < array.sequence->size(); ++i)
      CheckArray(fmt::format("{}[{}]", where, i), (*array.sequence)[i], *input, allow_nan);
  }
}

}  // namespace halfsafe
