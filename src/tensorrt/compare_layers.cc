#include <algorithm>
#include <array>
#include <set>

#include "halfsafe/engine.h"
#include "tensorrt/places.h"

namespace halfsafe {
namespace {

bool AllHalf(const std::vector<StoredTensor>& floats) {
  return std::all_of(floats.begin(), floats.end(),
                     [](const StoredTensor& tensor) { return tensor.dtype == DType::kFloat16; });
}

/// Whether it is the FP16 form of a tensor that the plan has in a wider type as well ("x.fp16" of "x").
bool IsPlannedCast(const StoredTensor& tensor) { return FormOf(tensor.name).starts_with("fp16"); }

/// Whether the layer holds Casts of its own: then FP16 outside says nothing of the inside.
bool HoldsCasts(const EngineLayer& layer) {
  const auto casts = [](const std::string& name) { return name.find("Cast") != std::string::npos; };
  return std::any_of(layer.nodes.begin(), layer.nodes.end(), casts) ||
         (layer.name.starts_with("__myl_") && casts(layer.name));
}

/// Why a node at this place isn't as planned, or nothing.
std::string ProblemAt(const NodePlace& place) {
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

void Show(const EngineLayer& layer, NodeInEngine* node) {
  node->layer = layer.name;
  node->inputs = Floats(layer.inputs);
  node->outputs = Floats(layer.outputs);
}

NodeInEngine FindNode(const NodePlaces& layers, const std::string& name, std::optional<Precision> planned) {
  NodeInEngine node;
  node.node = name;
  node.planned = planned;
  if (const std::vector<NodePlace>* places = layers.Find(name)) {
    const auto writing =
        std::find_if(places->begin(), places->end(), [](const NodePlace& place) { return place.writes; });
    const NodePlace& best = writing == places->end() ? places->front() : *writing;
    node.presence = best.layer->region ? Presence::kRegion
                    : best.writes      ? Presence::kLayer
                                       : Presence::kFused;
    Show(*best.layer, &node);
    for (const NodePlace& place : *places) {
      if (planned && node.problem.empty()) node.problem = ProblemAt(place);
    }
  } else if (const EngineLayer* region = layers.RegionOf(name)) {
    node.presence = Presence::kRegion;
    Show(*region, &node);
  }
  return node;
}

std::vector<std::string> NodesOf(const Plan* plan) {
  std::vector<std::string> names;
  if (plan == nullptr) return names;
  for (const NodePlan& node : plan->nodes) names.push_back(node.name);
  return names;
}

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
  const NodePlaces places(report.layers, NodesOf(plan));
  if (plan != nullptr) {
    for (const NodePlan& node : plan->nodes) {
      if (node.precision != Precision::kFp16)
        report.nodes.push_back(FindNode(places, node.name, node.precision));
    }
  } else {
    std::set<std::string_view> seen;
    for (const EngineLayer& layer : report.layers.layers) {
      for (const std::string& node : layer.nodes) {
        if (seen.insert(node).second) report.nodes.push_back(FindNode(places, node, std::nullopt));
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
