#pragma once

#include <optional>
#include <string>
#include <vector>

#include "halfsafe/plan.h"
#include "halfsafe/ranges.h"
#include "model/graph_index.h"

namespace halfsafe {

/// Elements that one sample has on average; a guess of 1024 where the scan did not see the tensor.
double ElementsPerSample(const GraphIndex& index, const RangeTable& ranges, int tensor);

/// Multiply-adds of matrix products that one sample costs at a node, counted as its row of the operator table
/// says; 0 where it has none, or where their number can't be told.
double MultiplyAdds(const GraphIndex& index, const RangeTable& ranges, const NodeInfo& node);

/// How much of a model's work is in 16 bits where a plan is applied, or in 8-bit integers.
struct WorkShare {
  double share =
      0.0;  ///< 0 to 1: of the multiply-adds, or where there are none of the bytes that nodes move.
  bool products = false;  ///< Whether it is of multiply-adds.
  bool integers = false;  ///< Whether some of it is in integers.
  /// Operators whose multiply-adds can't be counted, each once, in the order of the graph.
  std::vector<std::string> uncounted;
};
WorkShare ShareInHalf(const Model& model, const RangeTable& ranges, const Plan& plan);

}  // namespace halfsafe
