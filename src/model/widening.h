#pragma once

#include <onnx/onnx_pb.h>

#include "halfsafe/sample.h"

namespace halfsafe {

/// Whether anything in a graph, bodies included, is FP16 or BF16: a constant, a type that is stated of a
/// tensor, a type that an attribute states.
bool StatesSixteenBits(const onnx::GraphProto& graph);

/// Makes every 16-bit type FP32 that a graph, bodies included, states of its tensors (sequences and optionals
/// of such too) or by attributes (Cast's `to`, LayerNormalization's `stash_type`). The data of constants
/// stays as it is.
void WidenStatedTypes(onnx::GraphProto* graph);

/// Gives a constant the FP32 values of `array`, which is what it holds in 16 bits, in place of its data.
void WidenInside(const Array& array, onnx::TensorProto* tensor);

}  // namespace halfsafe
