#pragma once

#include <onnx/onnx_pb.h>

#include <vector>

#include "model/graph_index.h"

namespace halfsafe {

/// What takes a node's place at another opset.
struct ConvertedNode {
  /// In graph order. Inputs and outputs of the node have their names; tensors in between have any.
  std::vector<onnx::NodeProto> nodes;
  size_t main = 0;  ///< The one that the node itself has become. Of its attributes, those that Converts.
};

/// Whether conversion may change an attribute. Those that hold tensors, graphs and types stay: no operator's
/// form of today has changed them, and tensors may be large.
bool Converts(const onnx::AttributeProto& attribute);

/// ONNX's version converter, for one node at a time, so that it can lose nothing but what a node is made of.
/// `node` is an operator of the standard domain. Throws some std::exception where it has no form at opset
/// `to`.
ConvertedNode ConvertNode(const GraphIndex& index, const NodeInfo& node, int from, int to);

}  // namespace halfsafe
