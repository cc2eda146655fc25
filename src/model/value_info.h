#pragma once

#include <onnx/onnx_pb.h>

#include "model/graph_index.h"

namespace halfsafe {

/// Writes the sizes of a tensor as far as they are known: none without a rank, no value for free dimensions.
void WriteShape(const TensorInfo& tensor, onnx::TypeProto::Tensor* type);

/// Writes the tensor's local name, and `dtype` and sizes as far as they are known. It has no type where
/// `dtype` is undefined or the value is no tensor.
void Declare(const TensorInfo& tensor, DType dtype, onnx::ValueInfoProto* value);

}  // namespace halfsafe
