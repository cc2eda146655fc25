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

}  // namespace HWY_NAMESPACE
}  // namespace halfsafe
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace halfsafe {

HWY_EXPORT(FloatsToHalfVector);
HWY_EXPORT(HalfToFloatsVector);
HWY_EXPORT(RoundVector);

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

}  // namespace halfsafe
#endif
