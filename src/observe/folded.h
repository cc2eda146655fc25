#pragma once

#include <vector>

#include "model/graph_index.h"

namespace halfsafe {

/// The weights of a Conv, ConvTranspose or Gemm as an engine builder stores them: multiplied by the constant
/// BatchNormalization, Mul and Add nodes that follow, with Identity nodes in between, and have no other
/// reader.
struct FoldedWeights {
  std::vector<int> nodes;        ///< The Conv or Gemm, then what folds into it.
  double weight_max = 0.0;       ///< Largest folded |weight|.
  double bias_max = 0.0;         ///< Largest folded |bias|.
  uint64_t subnormal_count = 0;  ///< Non-zero folded weights that FP16 makes subnormal or zero.
  uint64_t count = 0;
};

/// All such groups of a model. Per output channel c, with y = W x + b: a BatchNormalization turns W into f W
/// and b into f (b - mean) + B with f = scale / sqrt(variance + epsilon); Mul by m gives m W and m b; Add of
/// a gives b + a.
std::vector<FoldedWeights> FoldWeights(const Model& model, const GraphIndex& index);

}  // namespace halfsafe
