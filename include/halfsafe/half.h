#pragma once

#include <bit>
#include <cmath>
#include <cstdint>

namespace halfsafe {

/// Facts of IEEE 754 binary16, which ONNX calls FLOAT16.
inline constexpr float kHalfMax = 65504.0f;        ///< Largest finite value, (2 - 2^-10) * 2^15.
inline constexpr float kHalfOverflow = 65520.0f;   ///< From here on, rounding to nearest gives infinity.
inline constexpr float kHalfMinNormal = 0x1p-14f;  ///< Smallest normal value.
inline constexpr float kHalfMinSubnormal =
    0x1p-24f;  ///< Smallest value above zero; half of it rounds to zero.
/// Below this, rounding gives a subnormal or zero: the midpoint of the largest subnormal and the smallest
/// normal, itself rounded to the normal by ties-to-even.
inline constexpr float kHalfRoundsToNormal = 0x1p-14f - 0x1p-25f;

/// Rounds to the nearest binary16 value, ties to even; values past 65504 become infinity, NaN stays NaN.
/// The plain twin of the vector code, straight from the definition: a half has an exponent of at least -14
/// and 10 bits behind it, so its grid spacing at x is 2^(max(exponent(x), -14) - 10).
inline float RoundToHalf(float x) {
  if (!std::isfinite(x) || x == 0.0f) return x;
  int exponent = 0;
  std::frexp(x, &exponent);  // |x| in [0.5, 1) * 2^exponent
  const int spacing = (exponent - 1 < -14 ? -14 : exponent - 1) - 10;
  const float rounded = std::ldexp(std::nearbyint(std::ldexp(x, -spacing)), spacing);
  return std::fabs(rounded) >= kHalfOverflow ? std::copysign(INFINITY, x) : rounded;
}

/// Rounds to the nearest bfloat16 value, ties to even: the upper 16 bits of the FP32 form.
inline float RoundToBfloat16(float x) {
  uint32_t bits = std::bit_cast<uint32_t>(x);
  if (std::isnan(x)) return x;
  bits += 0x7FFFu + ((bits >> 16) & 1u);
  return std::bit_cast<float>(bits & 0xFFFF0000u);
}

/// The 16 bits of a value that RoundToHalf returned.
inline uint16_t HalfBits(float x) {
  const uint32_t bits = std::bit_cast<uint32_t>(x);
  const uint16_t sign = static_cast<uint16_t>((bits >> 16) & 0x8000u);
  if (std::isnan(x)) return static_cast<uint16_t>(sign | 0x7E00u);
  const float magnitude = std::fabs(RoundToHalf(x));
  if (std::isinf(magnitude)) return static_cast<uint16_t>(sign | 0x7C00u);
  if (magnitude < kHalfMinNormal)
    return static_cast<uint16_t>(sign | static_cast<uint16_t>(std::ldexp(magnitude, 24)));
  const uint32_t rounded = std::bit_cast<uint32_t>(magnitude);
  return static_cast<uint16_t>(sign | ((((rounded >> 23) - 112u) << 10) | ((rounded >> 13) & 0x3FFu)));
}

/// The value of 16 binary16 bits.
inline float HalfValue(uint16_t bits) {
  const float sign = (bits & 0x8000u) != 0 ? -1.0f : 1.0f;
  const int exponent = (bits >> 10) & 0x1F;
  const int fraction = bits & 0x3FF;
  if (exponent == 31) return fraction == 0 ? sign * INFINITY : NAN;
  if (exponent == 0) return sign * std::ldexp(static_cast<float>(fraction), -24);
  return sign * std::ldexp(static_cast<float>(1024 + fraction), exponent - 25);
}

/// The value of 16 bfloat16 bits.
inline float Bfloat16Value(uint16_t bits) { return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16); }

/// The 16 bits of a value that RoundToBfloat16 returned.
inline uint16_t Bfloat16Bits(float x) { return static_cast<uint16_t>(std::bit_cast<uint32_t>(x) >> 16); }

}  // namespace halfsafe
