#include "data/convert.h"

#include <fmt/format.h>

#include <cstring>
#include <limits>

#include "halfsafe/error.h"
#include "halfsafe/half.h"

namespace halfsafe {
namespace {

template <typename Value>
Value ValueAt(const Array& array, size_t i) {
  Value value;
  std::memcpy(&value, array.bytes.data() + i * sizeof(Value), sizeof(Value));
  return value;
}

/// Writes `convert(i)` for each element.
template <typename Convert>
Array Filled(const Array& array, DType dtype, const Convert& convert) {
  using Value = decltype(convert(size_t{0}));
  const size_t count = array.bytes.size() / DTypeSize(array.dtype);
  Array result{dtype, array.shape, std::vector<std::byte>(count * sizeof(Value))};
  for (size_t i = 0; i < count; ++i) {
    const Value value = convert(i);
    std::memcpy(result.bytes.data() + i * sizeof(Value), &value, sizeof(Value));
  }
  return result;
}

float FloatAt(const Array& array, size_t i) {
  switch (array.dtype) {
    case DType::kFloat:
      return ValueAt<float>(array, i);
    case DType::kDouble:
      return static_cast<float>(ValueAt<double>(array, i));
    case DType::kFloat16:
      return HalfValue(ValueAt<uint16_t>(array, i));
    default:
      return Bfloat16Value(ValueAt<uint16_t>(array, i));
  }
}

int32_t NarrowAt(const Array& array, size_t i, std::string_view where) {
  const auto value = ValueAt<int64_t>(array, i);
  if (value < std::numeric_limits<int32_t>::min() || value > std::numeric_limits<int32_t>::max()) {
    throw BadInput(
        fmt::format("{}: element {} is {}, which doesn't fit INT32, the type that this engine has "
                    "for INT64",
                    where, i, value));
  }
  return static_cast<int32_t>(value);
}

}  // namespace

Array ConvertArray(const Array& array, DType dtype, std::string_view where) {
  if (array.dtype == dtype) return array;
  if (array.dtype == DType::kInt64 && dtype == DType::kInt32)
    return Filled(array, dtype, [&](size_t i) { return NarrowAt(array, i, where); });
  if (array.dtype == DType::kInt32 && dtype == DType::kInt64)
    return Filled(array, dtype, [&](size_t i) { return int64_t{ValueAt<int32_t>(array, i)}; });
  if (IsFloat(array.dtype) && dtype == DType::kFloat)
    return Filled(array, dtype, [&](size_t i) { return FloatAt(array, i); });
  if (IsFloat(array.dtype) && dtype == DType::kFloat16)
    return Filled(array, dtype, [&](size_t i) { return HalfBits(RoundToHalf(FloatAt(array, i))); });
  if (IsFloat(array.dtype) && dtype == DType::kBfloat16)
    return Filled(array, dtype, [&](size_t i) { return Bfloat16Bits(RoundToBfloat16(FloatAt(array, i))); });
  throw BadInput(
      fmt::format("{} is {}, where {} is wanted", where, DTypeName(array.dtype), DTypeName(dtype)));
}

}  // namespace halfsafe
