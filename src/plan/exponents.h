#pragma once

#include "plan/context.h"

namespace halfsafe {

/// Chooses power-of-two exponents for tensors that overflow and for variances past 65504, where the layers'
/// own constants absorb them exactly (model/rescale_rules.h). Fills `exponents`; the rules leave such tensors
/// and constants alone. A tensor then stays within 2048 on the calibration data.
void ChooseExponents(PlanContext* context);

}  // namespace halfsafe
