#pragma once

#include "plan/context.h"

namespace halfsafe {

/// Finds constants that FP16 would make zero and that only guard another value from being zero: an epsilon
/// that is added to a variance, or a lower bound. Written as FP16's smallest value, 2^-24, such a constant
/// still guards. It may, if the other value v is always at least 2^-14 on the calibration data: FP16's
/// numbers are 2^-24 apart from there to 2^-13 and further apart above, so v is moved by one unit in its last
/// place at the most, and from 2^-12 on not at all. Fills `guards` and `constants`.
void FindGuards(PlanContext* context);

}  // namespace halfsafe
