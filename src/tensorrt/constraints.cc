#include "tensorrt/constraints.h"

#include <algorithm>
#include <unordered_map>

namespace halfsafe {
namespace {

constexpr size_t kNone = SIZE_MAX;

/// Nodes by what layers say of them.
class NodeNames {
 public:
  explicit NodeNames(const std::vector<PinnedNode>& nodes) {
    for (size_t i = 0; i < nodes.size(); ++i) {
      const PinnedNode& node = nodes[i];
      if (!node.local_name.empty()) {
        by_name_.emplace(node.local_name, i);
      } else if (!node.outputs.empty()) {
        by_name_.emplace(NamelessNode(node.outputs.front()), i);
      }
      for (const std::string& output : node.outputs) by_output_.emplace(output, i);
    }
  }

  /// Position of the node; kNone where the layer is of none of them.
  size_t Find(const NetworkLayer& layer) const {
    // The parser's word is the best. A tensor of the same name as another node must not mislead.
    if (const auto found = by_name_.find(layer.node.empty() ? layer.name : layer.node);
        found != by_name_.end())
      return found->second;
    for (const std::string& output : layer.outputs) {
      if (const auto found = by_output_.find(output); found != by_output_.end()) return found->second;
    }
    return kNone;
  }

 private:
  std::unordered_map<std::string, size_t> by_name_, by_output_;
};

bool HasOnnxName(const NetworkLayer& layer) {
  return !layer.node.empty() ||
         std::any_of(layer.outputs.begin(), layer.outputs.end(),
                     [](const std::string& output) { return !output.starts_with(kUnnamed); });
}

}  // namespace

std::string NamelessNode(const std::string& output) { return "node_of_" + output; }

std::vector<LayerConstraint> ChooseConstraints(const std::vector<PinnedNode>& nodes,
                                               const std::vector<NetworkLayer>& layers, bool has_bf16,
                                               std::vector<PinnedLayer>* pinned) {
  for (const PinnedNode& node : nodes) pinned->push_back({node.name, node.precision, {}, ""});
  const NodeNames names(nodes);
  std::vector<LayerConstraint> constraints;
  size_t next = kNone;  // The node of the layer behind.
  std::vector<bool> seen(nodes.size());
  for (size_t i = layers.size(); i-- > 0;) {
    const NetworkLayer& layer = layers[i];
    size_t node = names.Find(layer);
    if (layer.constant) {
      if (node != kNone) seen[node] = true;
      continue;
    }
    if (node == kNone && !HasOnnxName(layer)) node = next;
    next = node;
    if (node == kNone) continue;
    seen[node] = true;
    if (!layer.takes_precision) continue;
    const bool bf16 = nodes[node].precision == Precision::kBf16 && has_bf16;
    constraints.push_back({i, bf16 ? Precision::kBf16 : Precision::kFp32});
    (*pinned)[node].layers.insert((*pinned)[node].layers.begin(), layer.name);
  }
  for (size_t i = 0; i < nodes.size(); ++i) {
    if (!(*pinned)[i].layers.empty()) continue;
    (*pinned)[i].problem = seen[i] ? "its layers take no precision: they hold constants, shapes or integers"
                                   : "TensorRT has no layer for it: folded, or part of another";
  }
  std::reverse(constraints.begin(), constraints.end());
  return constraints;
}

}  // namespace halfsafe
