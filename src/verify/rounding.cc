#include "verify/rounding.h"

#include <cmath>

#include "halfsafe/half.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "verify/rounding.cc"
#include <hwy/foreach_target.h>  // compiles this file once per instruction set

#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace halfsafe {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

bool RoundVector(const float* values, size_t count, float* output) {
  size_t i = 0;
  bool finite = true;
  // These targets convert in hardware: to nearest even, subnormals included, past 65504 to infinity. The others would
  // be emulated by Highway in ways that flush or saturate, so they take the plain twin.
#if (HWY_TARGET & (HWY_AVX2 | HWY_AVX3 | HWY_AVX3_DL | HWY_NEON)) != 0
  const hn::ScalableTag<float> d;
  const hn::Rebind<hwy::float16_t, decltype(d)> dh;
  const hn::RebindToUnsigned<decltype(d)> du;
  const size_t lanes = hn::Lanes(d);
  const auto magnitude_mask = hn::Set(du, 0x7FFFFFFFu);
  auto largest = hn::Zero(du);  // As integers, NaN and infinity are above all finite magnitudes.
  for (; i + lanes <= count; i += lanes) {
    const auto rounded = hn::PromoteTo(d, hn::DemoteTo(dh, hn::LoadU(d, values + i)));
    largest = hn::Max(largest, hn::And(hn::BitCast(du, rounded), magnitude_mask));
    hn::StoreU(rounded, d, output + i);
  }
  finite = hn::GetLane(hn::MaxOfLanes(du, largest)) < 0x7F800000u;
#endif
  return RoundValuesToHalfScalar(values + i, count - i, output + i) && finite;
}

}  // namespace HWY_NAMESPACE
}  // namespace halfsafe
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace halfsafe {

HWY_EXPORT(RoundVector);

bool RoundValuesToHalf(const float* values, size_t count, float* output) {
  return HWY_DYNAMIC_DISPATCH(RoundVector)(values, count, output);
}

bool RoundValuesToHalfScalar(const float* values, size_t count, float* output) {
  bool finite = true;
  for (size_t i = 0; i < count; ++i) {
    output[i] = RoundToHalf(values[i]);
    finite = finite && std::isfinite(output[i]);
  }
  return finite;
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
