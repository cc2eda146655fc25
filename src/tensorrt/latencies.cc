#include "tensorrt/latencies.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <optional>
#include <set>

#include "base/disjoint_sets.h"
#include "halfsafe/error.h"
#include "model/graph_index.h"
#include "tensorrt/places.h"

namespace halfsafe {
namespace {

/// An engine's layers by name, as its profiler tells them apart, and which nodes each computes.
struct LayersOfNodes {
  std::map<std::string, std::vector<size_t>> nodes;
  std::map<std::string, std::vector<const EngineLayer*>> layers;
  std::map<std::string, double> times;
  bool narrow = false;  ///< Some layer reads or writes FP16 or BF16.
};

bool IsNarrow(const StoredTensor& tensor) {
  return tensor.dtype == DType::kFloat16 || tensor.dtype == DType::kBfloat16;
}

LayersOfNodes FindLayers(const std::vector<std::string>& nodes, const EngineBench& engine) {
  LayersOfNodes found;
  for (const EngineLayer& layer : engine.inspected.layers) {
    found.layers[layer.name].push_back(&layer);
    found.narrow = found.narrow || std::any_of(layer.inputs.begin(), layer.inputs.end(), IsNarrow) ||
                   std::any_of(layer.outputs.begin(), layer.outputs.end(), IsNarrow);
  }
  for (const LayerTime& time : engine.layers) found.times[time.layer] += time.median_us;
  const NodePlaces places(engine.inspected, nodes);
  for (size_t i = 0; i < nodes.size(); ++i) {
    if (const std::vector<NodePlace>* of_node = places.Find(nodes[i])) {
      for (const NodePlace& place : *of_node) found.nodes[place.layer->name].push_back(i);
    } else if (const EngineLayer* region = places.RegionOf(nodes[i])) {
      found.nodes[region->name].push_back(i);
    }
  }
  return found;
}

/// The precisions that a layer is seen in. More than one says that it isn't known what it computes in: it
/// converts. So does a region with FP32 around it in an engine that has narrower types, as they may be
/// inside.
std::set<Precision> PrecisionsOf(const EngineLayer& layer, bool narrow_engine) {
  std::set<Precision> precisions;
  for (const auto* tensors : {&layer.inputs, &layer.outputs}) {
    for (const StoredTensor& tensor : *tensors) {
      if (tensor.dtype == DType::kFloat) precisions.insert(Precision::kFp32);
      if (tensor.dtype == DType::kFloat16) precisions.insert(Precision::kFp16);
      if (tensor.dtype == DType::kBfloat16) precisions.insert(Precision::kBf16);
      if (tensor.dtype == DType::kUndefined || tensor.dtype == DType::kDouble)
        precisions.insert({Precision::kFp32, Precision::kFp16});
    }
  }
  if (layer.region && narrow_engine && precisions == std::set{Precision::kFp32})
    precisions.insert(Precision::kFp16);
  return precisions;
}

/// What one engine spends on a group, and in which precision.
struct GroupTime {
  std::set<Precision> precisions;
  double us = 0.0;
  bool timed = false;  ///< The profiler knows a layer of it.
};

/// Microseconds by precision, where known.
using Times = std::map<Precision, double>;

/// Adds what an engine spends on each group; returns the share of its time that some group has.
double AddTimes(const LayersOfNodes& engine, const DisjointSets& groups, std::map<size_t, Times>* measured) {
  std::map<size_t, GroupTime> spent;
  double found = 0.0, all = 0.0;
  for (const auto& [name, nodes] : engine.nodes) {
    GroupTime& group = spent[groups.First(nodes.front())];
    for (const EngineLayer* layer : engine.layers.at(name))
      group.precisions.merge(PrecisionsOf(*layer, engine.narrow));
    // Layers that do nothing in a run are not timed.
    if (const auto time = engine.times.find(name); time != engine.times.end()) {
      group.us += time->second;
      group.timed = true;
    }
  }
  for (const auto& [id, group] : spent) {
    if (group.precisions.size() != 1 || !group.timed) continue;
    const auto [us, first] = (*measured)[id].try_emplace(*group.precisions.begin(), group.us);
    if (!first) us->second = std::min(us->second, group.us);
    found += group.us;
  }
  for (const auto& [name, us] : engine.times) all += us;
  return all > 0.0 ? found / all : 0.0;
}

}  // namespace

MeasuredLatencies GroupLatencies(const std::vector<std::string>& nodes,
                                 const std::vector<EngineBench>& engines) {
  MeasuredLatencies result;
  DisjointSets groups(nodes.size());
  std::vector<LayersOfNodes> found;
  for (const EngineBench& engine : engines) {
    if (!engine.inspected.detailed) {
      throw BadInput(
          fmt::format("{} doesn't say what types its layers have, so their times are of no "
                      "precision: build it with halfsafe build, or with "
                      "--profilingVerbosity=detailed",
                      engine.name));
    }
    found.push_back(FindLayers(nodes, engine));
    for (const auto& [name, of_layer] : found.back().nodes)
      for (const size_t node : of_layer) groups.Join(of_layer.front(), node);
  }
  std::map<size_t, Times> measured;
  for (size_t k = 0; k < engines.size(); ++k) {
    const double share = AddTimes(found[k], groups, &measured);
    result.notes.push_back(
        fmt::format("{}: {:.0f}% of its time is in layers of one precision that compute nodes of the model",
                    engines[k].name, 100.0 * share));
  }
  std::map<size_t, std::vector<std::string>> members;
  for (size_t i = 0; i < nodes.size(); ++i) members[groups.First(i)].push_back(nodes[i]);
  size_t halves = 0;
  for (const auto& [id, times] : measured) {
    const auto fp16 = times.find(Precision::kFp16), bf16 = times.find(Precision::kBf16),
               fp32 = times.find(Precision::kFp32);
    if (fp16 == times.end() || fp32 == times.end()) {
      ++halves;
      continue;
    }
    NodeLatency& entry = result.latencies.nodes.emplace_back();
    entry.name = fmt::format("{}", fmt::join(members[id], " + "));
    entry.fp16_us = fp16->second;
    entry.fp32_us = fp32->second;
    if (bf16 != times.end()) entry.bf16_us = bf16->second;
  }
  if (halves > 0) {
    result.notes.push_back(
        fmt::format("{} measured layers were not seen in both FP16 and FP32: estimates stand", halves));
  }
  return result;
}

MeasuredLatencies MeasureLatencies(const Model& model, const BenchResult& bench) {
  std::vector<std::string> nodes;
  // Constants are no work, and a region's time must not go to them for their size.
  for (const NodeInfo& node : model.index().nodes())
    if (node.proto->op_type() != "Constant") nodes.push_back(node.name);
  MeasuredLatencies result = GroupLatencies(nodes, bench.engines);
  result.latencies.model_sha256 = model.sha256();
  const std::vector<InputSpec> inputs = model.Inputs();
  const bool batched = std::any_of(inputs.begin(), inputs.end(), [](const InputSpec& input) {
    return !input.shape.empty() && input.shape.front() == -1;
  });
  result.latencies.batch = batched ? static_cast<double>(bench.batch) : 1.0;
  return result;
}

}  // namespace halfsafe
