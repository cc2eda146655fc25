#include <algorithm>
#include <array>
#include <map>
#include <set>

#include "halfsafe/engine.h"

namespace halfsafe {
namespace {

constexpr size_t kNowhere = static_cast<size_t>(-1);

std::vector<StoredTensor> Floats(const std::vector<StoredTensor>& tensors) {
  std::vector<StoredTensor> floats;
  std::copy_if(tensors.begin(), tensors.end(), std::back_inserter(floats),
               [](const StoredTensor& tensor) { return IsFloat(tensor.dtype); });
  return floats;
}

bool AllHalf(const std::vector<StoredTensor>& floats) {
  return std::all_of(floats.begin(), floats.end(),
                     [](const StoredTensor& tensor) { return tensor.dtype == DType::kFloat16; });
}

/// What Apply put behind the tensor's name ("fp16_e3" of "x.fp16_e3"), or nothing.
std::string_view FormOf(const std::string& name) {
  const size_t original = OriginalName(name).size();
  if (original == name.size()) return "";
  const std::string_view form = std::string_view(name).substr(original + 1);
  const bool known = form.starts_with("fp16") || form.starts_with("fp32") || form.starts_with("bf16");
  return known ? form : "";
}

/// Whether it is the FP16 form of a tensor that the plan has in a wider type as well ("x.fp16" of "x").
bool IsPlannedCast(const StoredTensor& tensor) { return FormOf(tensor.name).starts_with("fp16"); }

/// Whether the layer holds Casts of its own: then FP16 outside says nothing of the inside.
bool HoldsCasts(const EngineLayer& layer) {
  const auto casts = [](const std::string& name) { return name.find("Cast") != std::string::npos; };
  return std::any_of(layer.nodes.begin(), layer.nodes.end(), casts) ||
         (layer.name.starts_with("__myl_") && casts(layer.name));
}

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
constexpr std::string_view kUnnamed = "node_of_";

/// The same for the original's output, where the rewritten model has it in another type or with an exponent.
std::string OriginalNode(const std::string& layer_node) {
  return layer_node.starts_with(kUnnamed) && !FormOf(layer_node).empty() ? OriginalName(layer_node)
                                                                         : layer_node;
}

/// Where a layer names a node.
struct Place {
  const EngineLayer* layer;
  bool writes;  ///< It is the last node there, whose result the layer stores.
};

/// Why a node at this place isn't as planned, or nothing.
std::string ProblemAt(const Place& place) {
  const std::vector<StoredTensor> inputs = Floats(place.layer->inputs);
  const std::vector<StoredTensor> outputs = Floats(place.layer->outputs);
  if (outputs.empty() || !AllHalf(outputs)) return "";
  if (place.writes) {
    const bool cast = std::all_of(outputs.begin(), outputs.end(), IsPlannedCast);
    return cast ? "" : "its result is stored in FP16";
  }
  if (place.layer->region || !AllHalf(inputs) || HoldsCasts(*place.layer)) return "";
  return "its layer reads and writes FP16 alone";
}

class Comparison {
 public:
  Comparison(const EngineLayers& layers, const Plan* plan) {
    for (const EngineLayer& layer : layers.layers) {
      const bool last_writes = LastNodeWrites(layer);
      for (const std::string& node : layer.nodes)
        places_[OriginalNode(node)].push_back({&layer, last_writes && node == layer.nodes.back()});
      if (layer.region) regions_.push_back(&layer);
    }
    if (plan == nullptr) return;
    for (const NodePlan& node : plan->nodes) order_.emplace(node.name, order_.size());
  }

  NodeInEngine Find(const std::string& name, std::optional<Precision> planned) const {
    NodeInEngine node;
    node.node = name;
    node.planned = planned;
    if (const std::vector<Place>* places = PlacesOf(name)) {
      const auto writing =
          std::find_if(places->begin(), places->end(), [](const Place& place) { return place.writes; });
      const Place& best = writing == places->end() ? places->front() : *writing;
      node.presence = best.layer->region ? Presence::kRegion
                      : best.writes      ? Presence::kLayer
                                         : Presence::kFused;
      Show(*best.layer, &node);
      for (const Place& place : *places) {
        if (planned && node.problem.empty()) node.problem = ProblemAt(place);
      }
    } else if (const EngineLayer* region = RegionOf(name)) {
      node.presence = Presence::kRegion;
      Show(*region, &node);
    }
    return node;
  }

 private:
  static void Show(const EngineLayer& layer, NodeInEngine* node) {
    node->layer = layer.name;
    node->inputs = Floats(layer.inputs);
    node->outputs = Floats(layer.outputs);
  }

  /// A node without a name goes by its first output in plans, and as "node_of_" and that in TensorRT.
  const std::vector<Place>* PlacesOf(const std::string& name) const {
    std::vector<std::string> names = {OriginalNode(name), std::string(kUnnamed) + name};
    if (const std::string local = LocalName(name); !local.empty() && !order_.contains(local))
      names.insert(names.end(), {local, std::string(kUnnamed) + local});
    for (const std::string& candidate : names) {
      if (const auto found = places_.find(candidate); found != places_.end()) return &found->second;
    }
    return nullptr;
  }

  size_t OrderOf(const std::string& layer_node) const {
    auto found = order_.find(layer_node);
    if (found == order_.end() && layer_node.starts_with(kUnnamed))
      found = order_.find(layer_node.substr(kUnnamed.size()));
    return found == order_.end() ? kNowhere : found->second;
  }

  /// The region that hides a node which no layer names, by the order of the graph: a region names the first
  /// and last of its nodes. What lies outside all of them was folded or removed.
  const EngineLayer* RegionOf(const std::string& name) const {
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

  std::map<std::string, std::vector<Place>> places_;
  std::vector<const EngineLayer*> regions_;
  std::map<std::string, size_t> order_;  ///< The plan's nodes, in graph order.
};

/// Tensors that are inputs or outputs of the engine, or copies of them.
std::set<std::string> AtTheBorder(const EngineLayers& layers) {
  std::set<std::string> border(layers.bindings.begin(), layers.bindings.end());
  const auto pass_on = [&](const std::vector<StoredTensor>& from, const std::vector<StoredTensor>& to) {
    if (std::any_of(from.begin(), from.end(),
                    [&](const auto& tensor) { return border.contains(tensor.name); }))
      for (const StoredTensor& tensor : to) border.insert(tensor.name);
  };
  // Layers are in the order of execution: inputs spread forwards, outputs backwards.
  for (const EngineLayer& layer : layers.layers) {
    if (layer.moves) pass_on(layer.inputs, layer.outputs);
  }
  for (auto layer = layers.layers.rbegin(); layer != layers.layers.rend(); ++layer) {
    if (layer->moves) pass_on(layer->outputs, layer->inputs);
  }
  return border;
}

/// Whether a layer that moves data converts between FP16 and a wider type.
bool ChangesPrecision(const EngineLayer& layer) {
  const std::vector<StoredTensor> inputs = Floats(layer.inputs), outputs = Floats(layer.outputs);
  if (inputs.empty() || outputs.empty()) return false;
  return AllHalf(inputs) != AllHalf(outputs);
}

void CountReformats(EngineReport* report) {
  const std::set<std::string> border = AtTheBorder(report->layers);
  const auto inside = [&](const StoredTensor& tensor) { return !border.contains(tensor.name); };
  for (const EngineLayer& layer : report->layers.layers) {
    if (!layer.moves) continue;
    ++report->reformats;
    if (ChangesPrecision(layer) && std::all_of(layer.inputs.begin(), layer.inputs.end(), inside) &&
        std::all_of(layer.outputs.begin(), layer.outputs.end(), inside))
      ++report->planned_reformats;
  }
}

}  // namespace

std::string_view PresenceName(Presence presence) {
  constexpr std::array<std::string_view, 4> kNames = {"layer", "fused", "region", "absent"};
  return kNames[static_cast<size_t>(presence)];
}

EngineReport CompareLayers(EngineLayers layers, const Plan* plan) {
  EngineReport report;
  report.layers = std::move(layers);
  const Comparison comparison(report.layers, plan);
  if (plan != nullptr) {
    for (const NodePlan& node : plan->nodes) {
      if (node.precision != Precision::kFp16)
        report.nodes.push_back(comparison.Find(node.name, node.precision));
    }
  } else {
    std::set<std::string_view> seen;
    for (const EngineLayer& layer : report.layers.layers) {
      for (const std::string& node : layer.nodes) {
        if (seen.insert(node).second) report.nodes.push_back(comparison.Find(node, std::nullopt));
      }
    }
  }
  report.judged = plan != nullptr && report.layers.detailed && report.layers.shaped;
  report.as_planned = std::all_of(report.nodes.begin(), report.nodes.end(),
                                  [](const NodeInEngine& node) { return node.problem.empty(); });
  CountReformats(&report);
  return report;
}

}  // namespace halfsafe
