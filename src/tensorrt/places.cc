#include "tensorrt/places.h"

#include <algorithm>

#include "halfsafe/rewrite.h"

namespace halfsafe {
namespace {

constexpr size_t kNowhere = static_cast<size_t>(-1);

/// The name behind the path of a node in a body ("If_3/then_branch/x"), or nothing. Names in the main graph
/// may hold slashes too, but seldom these.
std::string LocalName(const std::string& node) {
  size_t begin = 0;
  for (const std::string_view body : {"/then_branch", "/else_branch", "/body"}) {
    const size_t found = node.rfind(body);
    if (found == std::string::npos || found == 0) continue;
    size_t end = found + body.size();
    if (end < node.size() && node[end] == '#') end = node.find('/', end);
    if (end < node.size() && node[end] == '/') begin = std::max(begin, end + 1);
  }
  return begin == 0 ? "" : node.substr(begin);
}

/// Whether the layer's last node is the one that writes its floating-point outputs. Where others are beside
/// them, as indices are, that is not known.
bool LastNodeWrites(const EngineLayer& layer) {
  const size_t floats = Floats(layer.outputs).size();
  return layer.nodes.size() == 1 || floats == 0 || floats == layer.outputs.size();
}

/// How TensorRT's parser calls nodes without a name: by what they write.
constexpr std::string_view kUnnamedNode = "node_of_";

/// The same for the original's output, where the rewritten model has it in another type or with an exponent.
std::string OriginalNode(const std::string& layer_node) {
  return layer_node.starts_with(kUnnamedNode) && !FormOf(layer_node).empty() ? OriginalName(layer_node)
                                                                             : layer_node;
}

}  // namespace

std::vector<StoredTensor> Floats(const std::vector<StoredTensor>& tensors) {
  std::vector<StoredTensor> floats;
  std::copy_if(tensors.begin(), tensors.end(), std::back_inserter(floats),
               [](const StoredTensor& tensor) { return IsFloat(tensor.dtype); });
  return floats;
}

std::string_view FormOf(const std::string& name) {
  const size_t original = OriginalName(name).size();
  if (original == name.size()) return "";
  const std::string_view form = std::string_view(name).substr(original + 1);
  const bool known = form.starts_with("fp16") || form.starts_with("fp32") || form.starts_with("bf16");
  return known ? form : "";
}

NodePlaces::NodePlaces(const EngineLayers& layers, const std::vector<std::string>& order) {
  for (const EngineLayer& layer : layers.layers) {
    const bool last_writes = LastNodeWrites(layer);
    for (const std::string& node : layer.nodes)
      places_[OriginalNode(node)].push_back({&layer, last_writes && node == layer.nodes.back()});
    if (layer.region) regions_.push_back(&layer);
  }
  for (const std::string& node : order) order_.emplace(node, order_.size());
}

const std::vector<NodePlace>* NodePlaces::Find(const std::string& name) const {
  std::vector<std::string> names = {OriginalNode(name), std::string(kUnnamedNode) + name};
  if (const std::string local = LocalName(name); !local.empty() && !order_.contains(local))
    names.insert(names.end(), {local, std::string(kUnnamedNode) + local});
  for (const std::string& candidate : names) {
    if (const auto found = places_.find(candidate); found != places_.end()) return &found->second;
  }
  return nullptr;
}

size_t NodePlaces::OrderOf(const std::string& layer_node) const {
  auto found = order_.find(layer_node);
  if (found == order_.end() && layer_node.starts_with(kUnnamedNode))
    found = order_.find(layer_node.substr(kUnnamedNode.size()));
  return found == order_.end() ? kNowhere : found->second;
}

const EngineLayer* NodePlaces::RegionOf(const std::string& name) const {
  const auto own = order_.find(name);
  if (own == order_.end()) return nullptr;
  for (const EngineLayer* region : regions_) {
    if (region->nodes.empty()) continue;
    const size_t first = OrderOf(OriginalNode(region->nodes.front())),
                 last = OrderOf(OriginalNode(region->nodes.back()));
    if ((region->nodes.size() < 2 || first == kNowhere || first <= own->second) && own->second <= last)
      return region;
  }
  return nullptr;
}

}  // namespace halfsafe
