#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <numeric>
#include <optional>
#include <set>
#include <string_view>

#include "data/array.h"
#include "halfsafe/error.h"
#include "halfsafe/sample.h"

namespace halfsafe {
namespace {

/// The number of single-character edits from `a` to `b`.
size_t EditDistance(std::string_view a, std::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), size_t{0});
  for (size_t i = 0; i < a.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i + 1;
    for (size_t j = 0; j < b.size(); ++j) {
      const size_t replaced = diagonal + (a[i] == b[j] ? 0 : 1);
      diagonal = row[j + 1];
      row[j + 1] = std::min({replaced, row[j] + 1, row[j + 1] + 1});
    }
  }
  return row.back();
}

/// " (did you mean 'x'?)" when one of `candidates` is close to `name`, else nothing.
std::string DidYouMean(std::string_view name, const std::vector<std::string_view>& candidates) {
  constexpr size_t kLongest = 256;  // Nobody mistypes longer names, and comparing them takes long.
  size_t best = std::max<size_t>(name.size() / 3, 1) + 1;
  std::string_view found;
  for (const std::string_view candidate : candidates) {
    if (name.size() > kLongest || candidate.size() > kLongest) continue;
    const size_t distance = EditDistance(name, candidate);
    if (distance < best && distance < std::max(name.size(), candidate.size())) {
      best = distance;
      found = candidate;
    }
  }
  return found.empty() ? "" : fmt::format(" (did you mean '{}'?)", found);
}

std::string InputList(const std::vector<InputSpec>& inputs) {
  std::string text;
  for (const InputSpec& input : inputs) {
    text += fmt::format("{}'{}' {}{}", text.empty() ? "" : ", ", input.name, DTypeName(input.dtype),
                        input.any_rank ? "" : ShapeText(input.shape));
  }
  return text.empty() ? "none" : text;
}

/// The first element that is NaN or infinite: its exponent is all ones.
template <typename Bits, Bits kExponent>
std::optional<size_t> FirstNotFinite(const std::vector<std::byte>& bytes) {
  for (size_t i = 0; i + sizeof(Bits) <= bytes.size(); i += sizeof(Bits)) {
    Bits value;
    std::memcpy(&value, &bytes[i], sizeof(Bits));
    if ((value & kExponent) == kExponent) return i / sizeof(Bits);
  }
  return std::nullopt;
}

std::optional<size_t> FirstNotFinite(const Array& array) {
  switch (array.dtype) {
    case DType::kFloat:
      return FirstNotFinite<uint32_t, 0x7f800000>(array.bytes);
    case DType::kDouble:
      return FirstNotFinite<uint64_t, 0x7ff0000000000000>(array.bytes);
    case DType::kFloat16:
      return FirstNotFinite<uint16_t, 0x7c00>(array.bytes);
    case DType::kBfloat16:
      return FirstNotFinite<uint16_t, 0x7f80>(array.bytes);
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
  std::vector<std::string_view> missing, extra;
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

void CheckArray(const std::string& where, const Array& array, const InputSpec& input) {
  if (array.dtype != input.dtype) {
    throw BadInput(
        fmt::format("{} is {}, the model expects {}", where, DTypeName(array.dtype), DTypeName(input.dtype)));
  }
  bool fits = input.any_rank || array.shape.size() == input.shape.size();
  for (size_t i = 0; fits && !input.any_rank && i < array.shape.size(); ++i) {
    fits = input.shape[i] == -1 || input.shape[i] == array.shape[i];
  }
  if (!fits) {
    throw BadInput(fmt::format("{} has shape {}, the model expects {}", where, ShapeText(array.shape),
                               ShapeText(input.shape)));
  }
  const size_t bytes = ArrayBytes(array.dtype, array.shape, where);
  if (array.bytes.size() != bytes) {
    throw BadInput(fmt::format("{} of shape {} needs {} bytes, found {}", where, ShapeText(array.shape),
                               bytes, array.bytes.size()));
  }
  if (const auto at = FirstNotFinite(array)) {
    throw BadInput(fmt::format("{} is NaN or infinite at index {}, expected finite numbers", where,
                               IndexText(*at, array.shape)));
  }
}

}  // namespace

void ValidateSample(const Sample& sample, const std::vector<InputSpec>& inputs) {
  CheckNames(sample, inputs);
  for (const NamedArray& array : sample.inputs) {
    const auto input = std::ranges::find(inputs, array.name, &InputSpec::name);
    CheckArray(fmt::format("{}: input '{}'", sample.name, array.name), array.array, *input);
  }
}

}  // namespace halfsafe
