#pragma once

#include "plan/context.h"

namespace halfsafe {

/// Finds constants that FP16 would make zero and that only guard another value from being zero: an epsilon
/// that is added to a variance, or a lower bound. Written as FP16's smallest value, 2^-24, such a constant
/// still guards. That changes nothing on the calibration data if the other value v is always at least 2^-12:
/// the next FP16 number is at least 2^-22 away, so v + 2^-24 rounds to v, as v plus less does. Fills `guards`
/// and `constants`.
void FindGuards(PlanContext* context);

}  // namespace halfsafe
