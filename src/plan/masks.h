#pragma once

#include "plan/context.h"

namespace halfsafe {

/// What a mask constant of -3.4e38 is clamped to, so that adding a score within +-2^14 stays in range.
inline constexpr double kMaskClamp = 32768.0;

/// Finds additive attention masks that can be made smaller without changing any result, and fills `constants`
/// and `mask_fits`. A constant of zeros and values below -65504 may become -2^15 where, on the calibration
/// data,
///   - every path from it leads, through operators that pass its values on and products with zeros and ones,
///   to an Add
///     or Where with scores within +-2^14, and from there only to Softmax;
///   - every Softmax row keeps an unmasked entry that beats any masked one by more than 128, so that the
///   exponential of
///     a masked entry is exactly zero before and after: smallest row maximum >= largest score - 2^15 + 128.
/// Other masks keep their value, and the nodes that meet them stay FP32.
void FindMasks(PlanContext* context);

}  // namespace halfsafe
