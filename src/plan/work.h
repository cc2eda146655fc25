#pragma once

#include <optional>

#include "halfsafe/plan.h"
#include "halfsafe/ranges.h"
#include "model/graph_index.h"

namespace halfsafe {

/// Elements that one sample has on average; a guess of 1024 where the scan did not see the tensor.
double ElementsPerSample(const GraphIndex& index, const RangeTable& ranges, int tensor);

/// Multiply-adds that one sample costs at a Conv, ConvTranspose, Gemm, MatMul or Einsum; 0 for other
/// operators.
double MultiplyAdds(const GraphIndex& index, const RangeTable& ranges, const NodeInfo& node);

/// The share of all multiply-adds that the plan puts in FP16; nothing when the model has none.
std::optional<double> Fp16Share(const Model& model, const RangeTable& ranges, const Plan& plan);

}  // namespace halfsafe
