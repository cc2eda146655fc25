#pragma once

#include <onnx/onnx_pb.h>
#include <onnx/shape_inference/implementation.h>

namespace halfsafe {

/// Fills in the types and shapes that ONNX's operator schemas imply, bodies included. Throws what ONNX throws
/// where the model contradicts itself.
///
/// A few operators can double a rank, or the length of a shape, so that a handful of nodes would stand for
/// more than memory holds. So what goes from node to node is bounded: larger shapes count as not known. Long
/// constants lose their values.
void InferTypes(onnx::ModelProto* model, const onnx::ShapeInferenceOptions& options);

}  // namespace halfsafe
