#pragma once

#include <onnx/onnx_pb.h>

namespace halfsafe {

/// Puts the nodes of `graph` and of its bodies into an order in which each stands behind those that it reads,
/// which ONNX asks for and ONNX Runtime doesn't. Nodes that are in order stay where they are. Those of a
/// circle stay too: what reads the graph then refuses it.
void SortNodes(onnx::GraphProto* graph);

}  // namespace halfsafe
