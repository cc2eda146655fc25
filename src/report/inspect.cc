#include "report/inspect.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "base/display.h"
#include "base/json.h"
#include "base/text.h"
#include "data/array.h"
#include "halfsafe/half.h"
#include "model/graph_index.h"
#include "observe/folded.h"
#include "plan/leftovers.h"

namespace halfsafe {
namespace {

InputSpec SpecOf(const TensorInfo& tensor) {
  return {tensor.name, tensor.dtype, tensor.shape, !tensor.has_rank};
}

std::string ShapeOf(const InputSpec& spec) { return spec.any_rank ? "[...]" : ShapeText(spec.shape); }

nlohmann::ordered_json ToJson(const std::vector<InputSpec>& specs) {
  nlohmann::ordered_json json = nlohmann::ordered_json::array();
  for (const InputSpec& spec : specs) {
    json.push_back(
        {{"name", spec.name},
         {"dtype", DTypeName(spec.dtype)},
         {"shape", spec.any_rank ? nlohmann::ordered_json() : nlohmann::ordered_json(spec.shape)}});
  }
  return json;
}

}  // namespace

Inspection Inspect(const Model& model) {
  const GraphIndex& index = model.index();
  Inspection result;
  result.path = model.path().string();
  result.sha256 = model.sha256();
  result.bytes = model.bytes();
  for (const auto& import : model.proto().opset_import())
    result.opsets[import.domain()] = static_cast<int>(import.version());
  result.inputs = model.Inputs();
  for (const int output : index.graphs()[0].outputs) result.outputs.push_back(SpecOf(index.tensor(output)));
  std::set<std::string> no_schema;
  for (const NodeInfo& node : index.nodes()) {
    ++result.operators[node.proto->op_type()];
    if (node.schema == nullptr) no_schema.insert(node.proto->op_type());
  }
  result.no_schema.assign(no_schema.begin(), no_schema.end());
  const RangeTable constants = ScanConstants(model);
  for (const TensorStats& stats : constants.tensors) {
    result.weights += stats.count;
    result.subnormal += stats.subnormal_count;
    result.vanishing += stats.VanishingCount();
    if (stats.overflow_count + stats.inf_count + stats.nan_count > 0)
      result.overflowing_weights.push_back(stats);
  }
  const Model& lifted = model.Lifted();
  result.leftovers = Leftovers(lifted, constants);
  for (const FoldedWeights& folded : FoldWeights(lifted, lifted.index())) {
    result.folded += folded.count;
    result.folded_subnormal += folded.subnormal_count;
    const double largest = std::max(folded.weight_max, folded.bias_max);
    if (largest <= kHalfMax) continue;
    std::vector<std::string> names;
    for (const int node : folded.nodes) names.push_back(lifted.index().node(node).name);
    result.overflowing_folds.push_back({fmt::format("{}", fmt::join(names, " + ")), largest});
  }
  return result;
}

std::string ToText(const Inspection& inspection, int width, bool /*color*/) {
  std::string text =
      Line("{} ({}), SHA-256 {}", inspection.path, ByteText(inspection.bytes), inspection.sha256);
  for (const auto& [domain, version] : inspection.opsets)
    text += Line("opset {} {}", domain.empty() ? "ai.onnx" : domain, version);
  for (const InputSpec& input : inspection.inputs)
    text += Line("input  {} {} {}", input.name, DTypeName(input.dtype), ShapeOf(input));
  for (const InputSpec& output : inspection.outputs)
    text += Line("output {} {} {}", output.name, DTypeName(output.dtype), ShapeOf(output));
  std::string operators = "operators";
  for (const auto& [op, count] : inspection.operators) operators += fmt::format(" {}:{}", op, count);
  for (const std::string& line : WrapText(OneLine(operators), static_cast<size_t>(std::max(width, 20))))
    text += line + "\n";
  if (!inspection.no_schema.empty())
    text += Line("operators that ONNX doesn't define: {}", fmt::join(inspection.no_schema, ", "));
  text += fmt::format("weights: {} float values; in FP16 {} become subnormal, {} of them zero\n",
                      inspection.weights, inspection.subnormal, inspection.vanishing);
  if (inspection.folded > 0) {
    text += fmt::format(
        "folded as engine builders do (Conv or Gemm with what scales it): {} values, {} become subnormal or "
        "zero\n",
        inspection.folded, inspection.folded_subnormal);
  }
  for (const TensorStats& stats : inspection.overflowing_weights) {
    const uint64_t total = stats.count + stats.inf_count + stats.nan_count;
    text += fmt::format("weight past 65504: {}, {} of {} values", OneLine(stats.name), stats.overflow_count,
                        total);
    if (stats.count > 0) text += fmt::format(", finite ones in [{:.6g}, {:.6g}]", stats.min, stats.max);
    if (total > stats.count) text += fmt::format(", {} infinite, {} NaN", stats.inf_count, stats.nan_count);
    text += "\n";
  }
  for (const FoldFinding& fold : inspection.overflowing_folds)
    text += Line("folded weight past 65504: {} reach {:.6g}", fold.nodes, fold.abs_max);
  for (const std::string& leftover : inspection.leftovers)
    text += Line("left behind by the export to 16 bits: {}", leftover);
  return text;
}

std::string ToJson(const Inspection& inspection) {
  nlohmann::ordered_json json = {{"format", "halfsafe-inspection"},
                                 {"version", 1},
                                 {"model_sha256", inspection.sha256},
                                 {"model", inspection.path},
                                 {"model_bytes", inspection.bytes},
                                 {"opsets", inspection.opsets},
                                 {"inputs", ToJson(inspection.inputs)},
                                 {"outputs", ToJson(inspection.outputs)},
                                 {"operators", inspection.operators},
                                 {"operators_without_schema", inspection.no_schema},
                                 {"weights", inspection.weights},
                                 {"subnormal", inspection.subnormal},
                                 {"vanishing", inspection.vanishing},
                                 {"folded_weights", inspection.folded},
                                 {"folded_subnormal", inspection.folded_subnormal}};
  json["overflowing_weights"] = nlohmann::ordered_json::array();
  for (const TensorStats& stats : inspection.overflowing_weights) {
    json["overflowing_weights"].push_back({{"name", stats.name},
                                           {"min", stats.min},
                                           {"max", stats.max},
                                           {"overflow_count", stats.overflow_count},
                                           {"inf_count", stats.inf_count},
                                           {"nan_count", stats.nan_count}});
  }
  json["overflowing_folds"] = nlohmann::ordered_json::array();
  for (const FoldFinding& fold : inspection.overflowing_folds)
    json["overflowing_folds"].push_back({{"nodes", fold.nodes}, {"abs_max", fold.abs_max}});
  json["leftovers"] = inspection.leftovers;
  return DumpJson(json);
}

}  // namespace halfsafe
