#pragma once

#include <string>
#include <vector>

#include "halfsafe/rewrite.h"
#include "tensorrt/backend.h"

namespace halfsafe {

/// What TensorRT's parser calls a node without a name, by its first output.
std::string NamelessNode(const std::string& output);

/// Finds the layers that the parser made of pinned nodes: by the node's name, by one made from its first
/// output, and by the tensors that it writes. The parser makes several layers of some nodes and gives only
/// the last one an ONNX name, so a layer without one goes with the next that has one. Fills `pinned` with an
/// entry per node.
std::vector<LayerConstraint> ChooseConstraints(const std::vector<PinnedNode>& nodes,
                                               const std::vector<NetworkLayer>& layers, bool has_bf16,
                                               std::vector<PinnedLayer>* pinned);

}  // namespace halfsafe
