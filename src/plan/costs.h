#pragma once

#include <cstdint>
#include <vector>

#include "plan/context.h"
#include "plan/expansion.h"

namespace halfsafe {

/// What each node costs in each precision, in bytes of memory traffic of one sample: measured where the
/// options have a latency, else estimated. The cheapest precision of a node costs 0. Warns of latencies for
/// nodes that the model does not have; throws Error(kBadInput) when all of them are.
std::vector<PerPrecision<int64_t>> NodeCosts(PlanContext* context);

/// What a Cast of the tensor costs, in the same unit.
int64_t CastCost(const PlanContext& context, int tensor);

}  // namespace halfsafe
