#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "halfsafe/plan.h"
#include "plan/cut.h"

namespace halfsafe {

/// The third kind of end of a tensor whose precision is given, beside kFixedFp32 and kFixedFp16.
inline constexpr int kFixedBf16 = -3;

/// By the value of Precision.
template <typename T>
using PerPrecision = std::array<T, 3>;

/// A node that gets one of three precisions.
struct PrecisionNode {
  PerPrecision<int64_t> cost = {};
  PerPrecision<bool> allowed = {true, true, true};  ///< FP32 always is, whatever stands here.
};

/// What CheapestAssignment decides between two precisions, between three. The cast_cost of a tensor is paid
/// once for every precision other than the writer's that at least one reader has. All costs together, each
/// tensor's three times, must fit into an int64_t.
struct PrecisionProblem {
  std::vector<PrecisionNode> nodes;
  std::vector<CutTensor> tensors;
};

/// A cheap assignment of allowed precisions, per node. Between three precisions the least cost is NP-hard to
/// find (multiway cuts are a special case), so this is not exact, but
/// - no set of nodes, however large, can go over to any one precision at less cost,
/// - it costs no more than the best assignment of any two precisions, where nodes that are allowed neither
/// are
///   FP32; so it is exact where FP16 or BF16 is allowed nowhere,
/// - where only FP16 and FP32 are allowed, it is CheapestAssignment's, the fewest FP32 nodes included.
std::vector<Precision> CheapestPrecisions(const PrecisionProblem& problem);

/// The cost that CheapestPrecisions makes small.
int64_t PrecisionCost(const PrecisionProblem& problem, const std::vector<Precision>& precisions);

}  // namespace halfsafe
