#include "model/weight_conversion.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <cstring>

#include "base/half_convert.h"
#include "halfsafe/half.h"

namespace halfsafe {
namespace {

/// Values at a time: a block and its result stay in the cache.
constexpr size_t kBlock = 4096;

void Change(const WeightConversion& conversion, std::span<float> values) {
  if (conversion.clamp) {
    const float bound = static_cast<float>(*conversion.clamp);
    for (float& value : values) value = std::isfinite(value) ? std::clamp(value, -bound, bound) : value;
  }
  if (conversion.exponent != 0) {
    // Exact in double, so rounded once.
    const double factor = std::ldexp(1.0, -conversion.exponent);
    for (float& value : values) value = static_cast<float>(value * factor);
  }
  if (conversion.keep_nonzero && conversion.dtype == DType::kFloat16) {
    for (float& value : values) {
      if (value != 0.0f) value = std::copysign(std::max(std::fabs(value), kHalfMinSubnormal), value);
    }
  }
}

void EncodeHalf(std::span<const float> values, uint16_t* bits) {
  FloatsToHalf(values.data(), values.size(), bits);
  constexpr uint16_t kInfinity = 0x7C00, kLargest = 0x7BFF, kMagnitude = 0x7FFF;
  for (size_t i = 0; i < values.size(); ++i) {
    if ((bits[i] & kMagnitude) == kInfinity && std::isfinite(values[i]))
      bits[i] = static_cast<uint16_t>((bits[i] & ~kMagnitude) | kLargest);
  }
}

void EncodeBfloat16(std::span<const float> values, uint16_t* bits) {
  constexpr float kLargest = 0x1.FEp127f;
  for (size_t i = 0; i < values.size(); ++i) {
    const float rounded = RoundToBfloat16(values[i]);
    const bool past = std::isinf(rounded) && std::isfinite(values[i]);
    bits[i] = Bfloat16Bits(past ? std::copysign(kLargest, values[i]) : rounded);
  }
}

}  // namespace

void ConvertWeight(std::span<const std::byte> floats, const WeightConversion& conversion, std::byte* out) {
  std::array<float, kBlock> block{};
  std::array<uint16_t, kBlock> bits{};
  const size_t size = DTypeSize(conversion.dtype);
  for (size_t begin = 0; begin < floats.size(); begin += sizeof(block)) {
    const auto part = floats.subspan(begin, std::min(sizeof(block), floats.size() - begin));
    const std::span values(block.data(), part.size() / sizeof(float));
    std::memcpy(values.data(), part.data(), part.size());
    Change(conversion, values);
    const void* result = values.data();
    if (conversion.dtype != DType::kFloat) {
      (conversion.dtype == DType::kFloat16 ? EncodeHalf : EncodeBfloat16)(values, bits.data());
      result = bits.data();
    }
    std::memcpy(out, result, values.size() * size);
    out += values.size() * size;
  }
}

}  // namespace halfsafe
