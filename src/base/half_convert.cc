#include "base/half_convert.h"

#include <cmath>
#include <cstring>

#include "halfsafe/half.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "base/half_convert.cc"
#include <hwy/foreach_target.h>  // compiles this file once per instruction set

#include <hwy/highway.h>

// These targets convert in hardware: to nearest even, subnormals included, past 65504 to infinity. On the
// others Highway emulates, and flushes subnormals, so they take the plain twins.
#undef HALFSAFE_EXACT_HALF
#define HALFSAFE_EXACT_HALF ((HWY_TARGET & (HWY_AVX2 | HWY_AVX3 | HWY_AVX3_DL | HWY_NEON)) != 0)

#ifndef HALFSAFE_DITHER_ONE  // Once, for all instruction sets.
#define HALFSAFE_DITHER_ONE
namespace halfsafe {

/// How values of one type are moved.
struct DitherScale {
  uint32_t range = 0;   ///< Half a last place, in bits of FP32's mantissa: steps go half of it up and down.
  uint32_t normal = 0;  ///< Magnitudes from this on move by their bits.
  float unit = 0.0F;    ///< A step for smaller ones, whose last place doesn't shrink with them.
};

inline DitherScale DitherScaleOf(bool half) {
  // Binary16 drops 13 bits, and its last place is never below 2^-24; bfloat16 drops 16.
  return half ? DitherScale{1U << 12, 0x38800000U, 0x1p-37F} : DitherScale{1U << 15, 0x00800000U, 0.0F};
}

/// murmur3's finalizer: every bit of the result depends on every bit of `x`.
inline uint32_t Mixed(uint32_t x) {
  x ^= x >> 16;
  x *= 0x85EBCA6BU;
  x ^= x >> 13;
  x *= 0xC2B2AE35U;
  return x ^ (x >> 16);
}

inline constexpr uint32_t kPlaces = 0x9E3779B1U;  ///< Odd: no two positions get one number.

inline float DitherOne(float value, uint32_t random, const DitherScale& scale) {
  uint32_t bits = 0;
  std::memcpy(&bits, &value, sizeof(bits));
  const uint32_t magnitude = bits & 0x7FFFFFFFU;
  if (magnitude == 0 || magnitude >= 0x7F800000U) return value;
  const auto step = static_cast<int32_t>(random & (scale.range - 1)) - static_cast<int32_t>(scale.range / 2);
  if (magnitude < scale.normal) return value + static_cast<float>(step) * scale.unit;
  bits += static_cast<uint32_t>(step);
  std::memcpy(&value, &bits, sizeof(bits));
  return value;
}

}  // namespace halfsafe
#endif

HWY_BEFORE_NAMESPACE();
namespace halfsafe {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

void FloatsToHalfVector(const float* values, size_t count, uint16_t* bits) {
  size_t i = 0;
#if HALFSAFE_EXACT_HALF
  const hn::ScalableTag<float> d;
  const hn::Rebind<hwy::float16_t, decltype(d)> dh;
  const hn::RebindToUnsigned<decltype(dh)> du;
  for (; i + hn::Lanes(d) <= count; i += hn::Lanes(d)) {
    hn::StoreU(hn::BitCast(du, hn::DemoteTo(dh, hn::LoadU(d, values + i))), du, bits + i);
  }
#endif
  for (; i < count; ++i) bits[i] = HalfBits(values[i]);
}

void HalfToFloatsVector(const uint16_t* bits, size_t count, float* values) {
  size_t i = 0;
#if HALFSAFE_EXACT_HALF
  const hn::ScalableTag<float> d;
  const hn::Rebind<hwy::float16_t, decltype(d)> dh;
  const hn::RebindToUnsigned<decltype(dh)> du;
  for (; i + hn::Lanes(d) <= count; i += hn::Lanes(d)) {
    hn::StoreU(hn::PromoteTo(d, hn::BitCast(dh, hn::LoadU(du, bits + i))), d, values + i);
  }
#endif
  for (; i < count; ++i) values[i] = HalfValue(bits[i]);
}

bool RoundVector(const float* values, size_t count, float* output) {
  size_t i = 0;
  bool finite = true;
#if HALFSAFE_EXACT_HALF
  const hn::ScalableTag<float> d;
  const hn::Rebind<hwy::float16_t, decltype(d)> dh;
  const hn::RebindToUnsigned<decltype(d)> du;
  const auto magnitude_mask = hn::Set(du, 0x7FFFFFFFu);
  auto largest = hn::Zero(du);  // As integers, NaN and infinity are above all finite magnitudes.
  for (; i + hn::Lanes(d) <= count; i += hn::Lanes(d)) {
    const auto rounded = hn::PromoteTo(d, hn::DemoteTo(dh, hn::LoadU(d, values + i)));
    largest = hn::Max(largest, hn::And(hn::BitCast(du, rounded), magnitude_mask));
    hn::StoreU(rounded, d, output + i);
  }
  finite = hn::GetLane(hn::MaxOfLanes(du, largest)) < 0x7F800000u;
#endif
  for (; i < count; ++i) {
    output[i] = RoundToHalf(values[i]);
    finite = finite && std::isfinite(output[i]);
  }
  return finite;
}

void DitherVector(const float* values, size_t count, bool half, uint32_t stream, uint32_t first,
                  float* output) {
  const DitherScale scale = DitherScaleOf(half);
  const hn::ScalableTag<float> d;
  const hn::RebindToUnsigned<decltype(d)> du;
  const hn::RebindToSigned<decltype(d)> di;
  const auto magnitude_mask = hn::Set(du, 0x7FFFFFFFU), largest = hn::Set(du, 0x7F7FFFFFU);
  const auto normal = hn::Set(du, scale.normal), steps = hn::Set(du, scale.range - 1);
  const auto middle = hn::Set(di, static_cast<int32_t>(scale.range / 2));
  const auto unit = hn::Set(d, scale.unit);
  const auto places = hn::Mul(hn::Iota(du, 0), hn::Set(du, kPlaces));
  size_t i = 0;
  for (; i + hn::Lanes(d) <= count; i += hn::Lanes(d)) {
    auto x = hn::Add(hn::Set(du, stream + (first + static_cast<uint32_t>(i)) * kPlaces), places);
    x = hn::Xor(x, hn::ShiftRight<16>(x));
    x = hn::Mul(x, hn::Set(du, 0x85EBCA6BU));
    x = hn::Xor(x, hn::ShiftRight<13>(x));
    x = hn::Mul(x, hn::Set(du, 0xC2B2AE35U));
    x = hn::Xor(x, hn::ShiftRight<16>(x));
    const auto step = hn::Sub(hn::BitCast(di, hn::And(x, steps)), middle);
    const auto value = hn::LoadU(d, values + i);
    const auto bits = hn::BitCast(du, value), magnitude = hn::And(bits, magnitude_mask);
    const auto moved = hn::BitCast(d, hn::Add(bits, hn::BitCast(du, step)));
    const auto added = hn::Add(value, hn::Mul(hn::ConvertTo(d, step), unit));
    const auto stays = hn::Or(hn::Eq(magnitude, hn::Zero(du)), hn::Lt(largest, magnitude));
    const auto small = hn::IfThenElse(hn::RebindMask(d, hn::Lt(magnitude, normal)), added, moved);
    hn::StoreU(hn::IfThenElse(hn::RebindMask(d, stays), value, small), d, output + i);
  }
  for (; i < count; ++i)
    output[i] = DitherOne(values[i], Mixed(stream + (first + static_cast<uint32_t>(i)) * kPlaces), scale);
}

}  // namespace HWY_NAMESPACE
}  // namespace halfsafe
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace halfsafe {

HWY_EXPORT(FloatsToHalfVector);
HWY_EXPORT(HalfToFloatsVector);
HWY_EXPORT(RoundVector);
HWY_EXPORT(DitherVector);

void FloatsToHalf(const float* values, size_t count, uint16_t* bits) {
  HWY_DYNAMIC_DISPATCH(FloatsToHalfVector)(values, count, bits);
}

void HalfToFloats(const uint16_t* bits, size_t count, float* values) {
  HWY_DYNAMIC_DISPATCH(HalfToFloatsVector)(bits, count, values);
}

bool RoundValuesToHalf(const float* values, size_t count, float* output) {
  return HWY_DYNAMIC_DISPATCH(RoundVector)(values, count, output);
}

bool RoundValuesToBfloat16(const float* values, size_t count, float* output) {
  bool finite = true;
  for (size_t i = 0; i < count; ++i) {
    output[i] = RoundToBfloat16(values[i]);
    finite &= std::isfinite(output[i]);
  }
  return finite;
}

void DitherValues(const float* values, size_t count, bool half, uint32_t stream, uint32_t first,
                  float* output) {
  HWY_DYNAMIC_DISPATCH(DitherVector)(values, count, half, stream, first, output);
}

}  // namespace halfsafe
#endif
