#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "halfsafe/engine.h"

/// Where an engine computes the nodes of a model.
namespace halfsafe {

std::vector<StoredTensor> Floats(const std::vector<StoredTensor>& tensors);

/// What Apply put behind the tensor's name ("fp16_e3" of "x.fp16_e3"), or nothing.
std::string_view FormOf(const std::string& name);

/// Where a layer names a node.
struct NodePlace {
  const EngineLayer* layer;
  bool writes;  ///< It is the last node there, whose result the layer stores.
};

/// Finds nodes, by the names that plans have for them, in the layers of an engine, which must outlive it.
class NodePlaces {
 public:
  /// `order`: the model's nodes in graph order, or nothing: then names alone are looked for.
  NodePlaces(const EngineLayers& layers, const std::vector<std::string>& order);

  /// The layers that name the node; null where none does. A node without a name goes by its first output in
  /// plans, and as "node_of_" and that in TensorRT.
  const std::vector<NodePlace>* Find(const std::string& name) const;
  /// The region that hides a node which no layer names, by the order of the graph: a region names the first
  /// and last of its nodes. What lies outside all of them was folded or removed.
  const EngineLayer* RegionOf(const std::string& name) const;

 private:
  size_t OrderOf(const std::string& layer_node) const;

  std::map<std::string, std::vector<NodePlace>> places_;
  std::vector<const EngineLayer*> regions_;
  std::map<std::string, size_t> order_;
};

}  // namespace halfsafe
