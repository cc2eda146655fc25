#pragma once

#include <vector>

#include "halfsafe/ranges.h"
#include "model/graph_index.h"

namespace halfsafe {

/// Statistics of every float constant, in graph order. `sum_bound` and samples stay empty.
std::vector<TensorStats> ConstantStats(const Model& model, const GraphIndex& index);

}  // namespace halfsafe
