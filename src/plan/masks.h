#pragma once

#include "plan/context.h"

namespace halfsafe {

/// Finds additive attention masks that can be made smaller without changing any result, and fills `constants`
/// and `mask_fits`. docs/rules.md, "Masks", has the conditions and the proof. Other masks keep their value, and
/// the nodes that meet them stay FP32.
void FindMasks(PlanContext* context);

}  // namespace halfsafe
