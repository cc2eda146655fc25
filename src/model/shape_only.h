#pragma once

#include <vector>

#include "model/graph_index.h"

namespace halfsafe {

/// Whether a node takes the shape of what it reads, and looks at no value.
bool ReadsShapeAlone(const NodeInfo& node);

/// Which tensors' values nothing looks at: all that reads them takes their shape, or makes more of that kind.
/// ONNX Runtime computes such shapes beforehand, and the tensors never. By number: results of nodes and
/// inputs of bodies, also those that nobody reads. Outputs of a graph, and what a node with bodies reads, are
/// looked at.
std::vector<bool> ReadForShapeAlone(const GraphIndex& index);

}  // namespace halfsafe
