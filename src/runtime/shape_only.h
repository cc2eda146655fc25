#pragma once

#include <onnx/onnx_pb.h>

namespace halfsafe {

/// ONNX Runtime computes a shape from what is declared, where that is known, and drops what made the tensor:
/// taps and chains too, when of all that they lead to the shape alone is read. Whether a tensor is seen would
/// then depend on whether shapes change from sample to sample. So this gives such taps and chains another
/// reader: a Cast to bool, which ONNX Runtime has for every type, takes for none of the model's own, and
/// leaves alone though nobody reads it.
void KeepWhatOnlyShapesRead(onnx::ModelProto* model);

}  // namespace halfsafe
