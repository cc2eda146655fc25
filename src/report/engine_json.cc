#include "halfsafe/engine.h"
#include "report/check_json.h"

namespace halfsafe {
namespace {

constexpr int kVersion = 1;

Json Fields(const ShapeProfile& profile) {
  Json json = Json::array();
  for (const ShapeRange& range : profile)
    json.push_back({{"input", range.input}, {"min", range.min}, {"opt", range.opt}, {"max", range.max}});
  return json;
}

Json Fields(const BuildResult& result) {
  Json json = {{"model_sha256", result.model_sha256},
               {"tensorrt", result.tensorrt},
               {"gpu", result.gpu},
               {"typing", TypingName(result.typing)},
               {"engine_bytes", result.engine.size()},
               {"seconds", result.seconds},
               {"network_layers", result.network_layers},
               {"profiles", Json::array()},
               {"pinned", Json::array()}};
  for (const ShapeProfile& profile : result.profiles) json["profiles"].push_back(Fields(profile));
  for (const PinnedLayer& pin : result.pinned) {
    json["pinned"].push_back({{"node", pin.node},
                              {"precision", PrecisionName(pin.precision)},
                              {"layers", pin.layers},
                              {"problem", pin.problem}});
  }
  json["warnings"] = result.warnings;
  return json;
}

Json TypeOf(const StoredTensor& tensor) {
  return tensor.dtype == DType::kUndefined ? Json() : Json(DTypeName(tensor.dtype));
}

Json Types(const std::vector<StoredTensor>& tensors) {
  Json json = Json::array();
  for (const StoredTensor& tensor : tensors) json.push_back(TypeOf(tensor));
  return json;
}

Json Tensors(const std::vector<StoredTensor>& tensors) {
  Json json = Json::array();
  for (const StoredTensor& tensor : tensors)
    json.push_back({{"name", tensor.name}, {"dtype", TypeOf(tensor)}, {"format", tensor.format}});
  return json;
}

Json ToJson(const EngineLayer& layer) {
  return {{"name", layer.name},
          {"type", layer.type},
          {"nodes", layer.nodes},
          {"region", layer.region},
          {"moves", layer.moves},
          {"inputs", Tensors(layer.inputs)},
          {"outputs", Tensors(layer.outputs)},
          {"tactic", layer.tactic}};
}

Json ToJson(const NodeInEngine& node) {
  return {{"node", node.node},
          {"planned", node.planned ? Json(PrecisionName(*node.planned)) : Json()},
          {"presence", PresenceName(node.presence)},
          {"layer", node.layer},
          {"inputs", Types(node.inputs)},
          {"outputs", Types(node.outputs)},
          {"problem", node.problem}};
}

Json ToJson(const EngineBench& engine) {
  Json json = {{"name", engine.name},
               {"median_ms", engine.median_ms},
               {"p99_ms", engine.p99_ms},
               {"graph_median_ms", OrNull(engine.graph_median_ms)},
               {"samples_per_second", engine.samples_per_second},
               {"device_bytes", engine.device_bytes},
               {"errors", ToJson(engine.errors)},
               {"layers", Json::array()}};
  for (const LayerTime& time : engine.layers)
    json["layers"].push_back({{"layer", time.layer}, {"median_us", time.median_us}});
  return json;
}

/// The name of a traced tensor, or null.
Json NameAt(const TraceResult& result, const std::optional<size_t>& position) {
  return position ? Json(result.tensors.at(*position).name) : Json();
}

}  // namespace

std::string ToJson(const BuildResult& result) {
  Json json = {{"format", "halfsafe-build"}, {"version", kVersion}};
  json.update(Fields(result));
  return DumpJson(json);
}

std::string ToJson(const EngineReport& report) {
  Json json = {{"format", "halfsafe-engine"},
               {"version", kVersion},
               {"tensorrt", report.tensorrt},
               {"gpu", report.gpu},
               {"detailed", report.layers.detailed},
               {"shaped", report.layers.shaped},
               {"as_planned", report.judged || !report.as_planned ? Json(report.as_planned) : Json()},
               {"reformats", report.reformats},
               {"planned_reformats", report.planned_reformats},
               {"bindings", report.layers.bindings},
               {"nodes", Json::array()},
               {"layers", Json::array()}};
  for (const NodeInEngine& node : report.nodes) json["nodes"].push_back(ToJson(node));
  for (const EngineLayer& layer : report.layers.layers) json["layers"].push_back(ToJson(layer));
  return DumpJson(json);
}

std::string ToJson(const TraceResult& result) {
  Json json = {{"format", "halfsafe-trace"},
               {"version", kVersion},
               {"build", Fields(result.build)},
               {"samples", result.samples},
               {"first_nonfinite", NameAt(result, result.first_nonfinite)},
               {"first_bad", NameAt(result, result.first_bad)},
               {"tensors", Json::array()}};
  for (const TracedTensor& tensor : result.tensors) {
    json["tensors"].push_back({{"name", tensor.name},
                               {"node", tensor.node},
                               {"op_type", tensor.op_type},
                               {"error", ToJson(tensor.error)}});
  }
  json["hidden"] = result.hidden;
  return DumpJson(json);
}

std::string ToJson(const BenchResult& result) {
  Json json = {{"format", "halfsafe-bench"}, {"version", kVersion},       {"tensorrt", result.tensorrt},
               {"gpu", result.gpu},          {"samples", result.samples}, {"batch", result.batch},
               {"engines", Json::array()}};
  for (const EngineBench& engine : result.engines) json["engines"].push_back(ToJson(engine));
  return DumpJson(json);
}

}  // namespace halfsafe
