#pragma once

#include "plan/context.h"

namespace halfsafe {

/// Chooses a power of two for every tensor, such that on the calibration data each stays within the margin,
/// at most the threshold, while as little as possible becomes subnormal and as few nodes as possible have to
/// be added; all zero where the options ask for another repair. Fills `exponents` and `read_exponents`. What
/// can't be brought into range keeps its exponent from the rest, and the rules decide about it.
void ChooseExponents(PlanContext* context);

}  // namespace halfsafe
