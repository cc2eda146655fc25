#pragma once

#include <optional>

#include "model/graph_index.h"

namespace halfsafe {

// How a layer's constants change so that a value is stored as v * 2^-e while everything else stays bit for
// bit what it was: a power of two commutes with FP32 rounding as long as nothing overflows or goes subnormal.
// With a linear layer y = W x + b and a BatchNormalization z = (y - mean) / sqrt(variance + epsilon) * scale
// + B:
//   y stored as y * 2^-e:                 W * 2^-e, b * 2^-e, mean * 2^-e, scale * 2^e
//   variance stored as variance * 2^-v:   epsilon * 2^-v, scale * 2^(-v/2), v even

/// The layers around a tensor that can be stored with an exponent.
struct RescalableTensor {
  int producer = -1;  ///< Conv, ConvTranspose or Gemm.
  int reader = -1;    ///< BatchNormalization.
};

/// Nothing unless `tensor` is written by a linear layer with constant weights and read only by one
/// BatchNormalization with constants, all in the main graph, and no constant concerned has another reader.
std::optional<RescalableTensor> FindRescalable(const GraphIndex& index, int tensor);

/// The BatchNormalization whose variance `constant` is, if that can be stored with an exponent; -1 otherwise.
int FindVarianceReader(const GraphIndex& index, int constant);

}  // namespace halfsafe
