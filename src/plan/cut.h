#pragma once

#include <cstdint>
#include <vector>

namespace halfsafe {

/// Ends of a tensor whose precision is given.
inline constexpr int kFixedFp32 = -1;
inline constexpr int kFixedFp16 = -2;

/// A tensor between one writer and any number of readers, each a node's number or fixed.
struct CutTensor {
  int writer = kFixedFp32;
  std::vector<int> readers;
  int64_t cast_cost = 0;  ///< Of one Cast of this tensor, whichever way; all readers of a type share it.
};

struct CutProblem {
  std::vector<int64_t> fp32_cost;  ///< Per node: what FP32 costs more than FP16.
  std::vector<bool> must_fp32;     ///< Per node.
  std::vector<CutTensor> tensors;
};

/// The assignment (true = FP32) of least total cost: the sum of fp32_cost over FP32 nodes, plus cast_cost for
/// every tensor with a writer of one precision and at least one reader of the other. Exact, by a minimum cut:
/// FP32 nodes are on the source's side; a tensor adds two helper vertices, one per direction of its Cast, so
/// that any number of readers pays once. Among equally cheap assignments it takes the one with the fewest
/// FP32 nodes.
std::vector<bool> CheapestAssignment(const CutProblem& problem);

/// The cost that CheapestAssignment minimizes.
int64_t AssignmentCost(const CutProblem& problem, const std::vector<bool>& fp32);

}  // namespace halfsafe
