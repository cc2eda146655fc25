#pragma once

#include <onnx/onnx_pb.h>

#include <string>

namespace halfsafe {

/// Puts the nodes of model-local functions in place of their calls, so that every tensor of theirs can be
/// seen and retyped. `path` is the model's, for messages. Throws BadInput where functions call one another in
/// a circle or too deep, or stand for more than a file of the model's size should.
void InlineFunctions(const std::string& path, onnx::ModelProto* model);

}  // namespace halfsafe
