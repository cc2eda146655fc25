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

void WidenValues(std::span<const std::byte> raw, DType dtype, float* values) {
  if (dtype == DType::kFloat) {
    std::memcpy(values, raw.data(), raw.size());
    return;
  }
  std::array<uint16_t, kBlock> bits{};
  for (size_t begin = 0; begin < raw.size(); begin += sizeof(bits)) {
    const auto part = raw.subspan(begin, std::min(sizeof(bits), raw.size() - begin));
    const size_t count = part.size() / sizeof(uint16_t);
    std::memcpy(bits.data(), part.data(), part.size());
    if (dtype == DType::kFloat16) {
      HalfToFloats(bits.data(), count, values);
    } else {
      std::transform(bits.data(), bits.data() + count, values, Bfloat16Value);
    }
    values += count;
  }
}

void ConvertWeight(std::span<const std::byte> raw, const WeightConversion& conversion, std::byte* out) {
  std::array<float, kBlock> block{};
  std::array<uint16_t, kBlock> bits{};
  const size_t size = DTypeSize(conversion.dtype), size_before = DTypeSize(conversion.from);
  for (size_t begin = 0; begin < raw.size(); begin += kBlock * size_before) {
    const auto part = raw.subspan(begin, std::min(kBlock * size_before, raw.size() - begin));
    const std::span values(block.data(), part.size() / size_before);
    WidenValues(part, conversion.from, values.data());
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
