#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>

#include "base/display.h"
#include "base/text.h"
#include "report/engine.h"
#include "report/table.h"

namespace halfsafe {
namespace {

std::string Plural(uint64_t count, std::string_view what) {
  return fmt::format("{} {}{}", count, what, count == 1 ? "" : "s");
}

std::string Upper(std::string_view text) {
  std::string upper(text);
  std::transform(upper.begin(), upper.end(), upper.begin(),
                 [](char c) { return static_cast<char>(std::toupper(c)); });
  return upper;
}

std::string More(size_t rows) { return rows > kRows ? fmt::format("  ... and {} more\n", rows - kRows) : ""; }

// ---- build

/// Nodes without a layer first: they are what a reader has to know.
std::string PinnedTable(const std::vector<PinnedLayer>& pinned, int width) {
  std::vector<const PinnedLayer*> order;
  for (const PinnedLayer& pin : pinned) order.push_back(&pin);
  std::stable_partition(order.begin(), order.end(),
                        [](const PinnedLayer* pin) { return !pin->problem.empty(); });
  std::vector<std::vector<std::string>> rows = {{"node", "in", "layers", "problem"}};
  for (size_t i = 0; i < std::min(kRows, order.size()); ++i) {
    const PinnedLayer& pin = *order[i];
    rows.push_back({pin.node, Upper(PrecisionName(pin.precision)),
                    fmt::format("{}", fmt::join(pin.layers, ", ")), pin.problem});
  }
  return Table(rows, width, {0, 2}) + More(order.size());
}

std::string SizesText(const std::vector<int64_t>& shape) {
  return shape.empty() ? "a scalar" : fmt::format("{}", fmt::join(shape, "x"));
}

std::string ProfileLines(const std::vector<ShapeProfile>& profiles) {
  std::string text;
  for (const ShapeProfile& profile : profiles) {
    std::vector<std::string> inputs;
    for (const ShapeRange& range : profile) {
      inputs.push_back(range.min == range.max
                           ? fmt::format("{} {}", range.input, SizesText(range.min))
                           : fmt::format("{} {} to {}, tuned for {}", range.input, SizesText(range.min),
                                         SizesText(range.max), SizesText(range.opt)));
    }
    text += Line("Shapes: {}", fmt::join(inputs, "; "));
  }
  return text;
}

std::string BuildLines(const BuildResult& result, int width) {
  const bool weak = result.typing == Typing::kWeak;
  std::string text = fmt::format("TensorRT {} on {}, {}\n", result.tensorrt, result.gpu,
                                 weak ? "weakly typed: the plan's types are constraints on layers"
                                      : "strongly typed: types are those of the ONNX file");
  text += result.engine.empty()
              ? fmt::format("Parsed: {}\n", Plural(result.network_layers, "layer"))
              : fmt::format("Built: {} from {} in {:.1f} s\n", ByteText(result.engine.size()),
                            Plural(result.network_layers, "layer"), result.seconds);
  text += ProfileLines(result.profiles);
  if (result.pinned.empty()) return text;
  const uint64_t layers =
      std::accumulate(result.pinned.begin(), result.pinned.end(), uint64_t{0},
                      [](uint64_t sum, const PinnedLayer& pin) { return sum + pin.layers.size(); });
  const auto problems = std::count_if(result.pinned.begin(), result.pinned.end(),
                                      [](const PinnedLayer& pin) { return !pin.problem.empty(); });
  text += fmt::format("Pinned: {}, as {}", Plural(result.pinned.size(), "node"), Plural(layers, "layer"));
  text += problems > 0 ? fmt::format("; {} without one\n", problems) : "\n";
  return text + PinnedTable(result.pinned, width);
}

// ---- engine

/// "FP32", each type once.
std::string TypesOf(const std::vector<StoredTensor>& tensors) {
  std::vector<std::string> types;
  for (const StoredTensor& tensor : tensors) {
    const std::string type = tensor.dtype == DType::kFloat16    ? "FP16"
                             : tensor.dtype == DType::kBfloat16 ? "BF16"
                             : tensor.dtype == DType::kFloat    ? "FP32"
                                                                : DTypeName(tensor.dtype);
    if (std::find(types.begin(), types.end(), type) == types.end()) types.push_back(type);
  }
  return types.empty() ? "-" : fmt::format("{}", fmt::join(types, ", "));
}

std::string StoredCell(const NodeInEngine& node) {
  if (node.presence == Presence::kAbsent || (node.inputs.empty() && node.outputs.empty())) return "-";
  return fmt::format("{} -> {}", TypesOf(node.inputs), TypesOf(node.outputs));
}

/// Nodes with a problem first.
std::string NodeTable(const EngineReport& report, int width) {
  std::vector<const NodeInEngine*> order;
  for (const NodeInEngine& node : report.nodes) order.push_back(&node);
  std::stable_partition(order.begin(), order.end(),
                        [](const NodeInEngine* node) { return !node->problem.empty(); });
  std::vector<std::vector<std::string>> rows = {{"node", "planned", "found", "engine layer", "in -> out"}};
  for (size_t i = 0; i < std::min(kRows, order.size()); ++i) {
    const NodeInEngine& node = *order[i];
    rows.push_back({node.node, node.planned ? Upper(PrecisionName(*node.planned)) : "-",
                    std::string(PresenceName(node.presence)), node.layer.empty() ? "-" : node.layer,
                    StoredCell(node)});
    if (!node.problem.empty()) rows.back().push_back(node.problem);
  }
  return Table(rows, width, {0, 3}) + More(order.size());
}

size_t CountIn(const EngineReport& report, Presence presence) {
  return static_cast<size_t>(
      std::count_if(report.nodes.begin(), report.nodes.end(),
                    [&](const NodeInEngine& node) { return node.presence == presence; }));
}

/// "in all: 9 layer, 10 fused", in the words of the table.
std::string PresenceCounts(const EngineReport& report) {
  std::vector<std::string> parts;
  for (const Presence presence : {Presence::kLayer, Presence::kFused, Presence::kRegion, Presence::kAbsent}) {
    if (const size_t count = CountIn(report, presence); count > 0)
      parts.push_back(fmt::format("{} {}", count, PresenceName(presence)));
  }
  return fmt::format("  in all: {}\n", fmt::join(parts, ", "));
}

std::string WhatIsMissing(const EngineLayers& layers) {
  if (!layers.detailed) {
    return "The engine was built without details: names are known, types are not. Build it with "
           "--profilingVerbosity=detailed (ProfilingVerbosity::kDETAILED)\n";
  }
  return layers.shaped ? "" : "Types are not known where they depend on shapes that were not set\n";
}

std::string PlannedVerdict(const EngineReport& report, bool color) {
  if (!report.as_planned) {
    const auto problems = std::count_if(report.nodes.begin(), report.nodes.end(),
                                        [](const NodeInEngine& node) { return !node.problem.empty(); });
    return Verdict(fmt::format("NOT AS PLANNED: {} of {} are in FP16", problems, report.nodes.size()), false,
                   color) +
           "\n";
  }
  if (!report.judged) return "";
  std::string text = Verdict("AS PLANNED: no planned type is seen broken", true, color);
  if (const size_t hidden = CountIn(report, Presence::kRegion); hidden > 0) {
    text += fmt::format("; {} {} in regions, which show only what goes in and out", Plural(hidden, "node"),
                        hidden == 1 ? "is" : "are");
  }
  return text + "\n";
}

// ---- trace

double Badness(const OutputError& error) {
  if (error.new_nonfinite > 0 || !error.problem.empty()) return std::numeric_limits<double>::infinity();
  return IsFloat(error.dtype) ? error.rel_l2 : error.flip_share;
}

std::string TracedLine(std::string_view what, const TraceResult& result,
                       const std::optional<size_t>& position) {
  if (!position) return fmt::format("{}: none\n", what);
  const TracedTensor& tensor = result.tensors.at(*position);
  return Line("{}: {}, made by {} ({}): {}", what, tensor.name, tensor.node, tensor.op_type,
              ErrorCell(tensor.error));
}

std::string WorstTable(const TraceResult& result, int width) {
  std::vector<const TracedTensor*> order;
  for (const TracedTensor& tensor : result.tensors) order.push_back(&tensor);
  std::stable_sort(order.begin(), order.end(), [](const TracedTensor* a, const TracedTensor* b) {
    return Badness(a->error) > Badness(b->error);
  });
  std::vector<std::vector<std::string>> rows = {{"tensor", "operator", "error", "max |error|", ""}};
  for (size_t i = 0; i < std::min(kRows, order.size()); ++i) {
    const TracedTensor& tensor = *order[i];
    rows.push_back({tensor.name, tensor.op_type, ErrorCell(tensor.error), Number(tensor.error.max_abs),
                    tensor.error.right ? "right" : "NOT RIGHT"});
  }
  return Table(rows, width, {0, 1}) + More(order.size());
}

// ---- bench

std::string WorstError(const ModelErrors& errors) {
  if (!errors.failure.empty()) return "-";
  const auto worst =
      std::max_element(errors.outputs.begin(), errors.outputs.end(),
                       [](const OutputError& a, const OutputError& b) { return Badness(a) < Badness(b); });
  return worst == errors.outputs.end() ? "-" : ErrorCell(*worst);
}

}  // namespace

std::string ToText(const BuildResult& result, int width, bool /*color*/) { return BuildLines(result, width); }

std::string ToText(const EngineReport& report, int width, bool color) {
  std::string text =
      report.tensorrt.empty() ? "" : fmt::format("TensorRT {} on {}: ", report.tensorrt, report.gpu);
  text += Plural(report.layers.layers.size(), "layer");
  text += fmt::format(", {} of them only move data", report.reformats);
  if (report.layers.detailed && report.layers.shaped)
    text += fmt::format(", {} between FP16 and a wider type inside the network", report.planned_reformats);
  text += fmt::format("\n{}", WhatIsMissing(report.layers));
  if (!report.nodes.empty()) text += NodeTable(report, width) + PresenceCounts(report);
  return text + PlannedVerdict(report, color);
}

std::string ToText(const TraceResult& result, int width, bool color) {
  std::string text = BuildLines(result.build, width);
  text += fmt::format("Traced: {} on {}, against FP32\n", Plural(result.tensors.size(), "tensor"),
                      Plural(result.samples, "sample"));
  text += TracedLine("First not finite", result, result.first_nonfinite);
  text += TracedLine("First past the tolerance", result, result.first_bad);
  if (!result.tensors.empty()) text += "Worst:\n" + WorstTable(result, width);
  if (!result.hidden.empty())
    text += fmt::format("Not shown by the engine: {}\n", Plural(result.hidden.size(), "tensor"));
  text += "Showing tensors changes what TensorRT fuses: a fault may move, or go, when they are not shown\n";
  const bool right = !result.first_nonfinite && !result.first_bad;
  return text +
         Verdict(
             right ? "RIGHT: every tensor shown agrees with FP32" : "NOT RIGHT: see the first tensors above",
             right, color) +
         "\n";
}

std::string ToText(const BenchResult& result, int width, bool color) {
  std::string text = fmt::format("TensorRT {} on {}, {}, batch {}\n", result.tensorrt, result.gpu,
                                 Plural(result.samples, "sample"), result.batch);
  std::vector<std::vector<std::string>> rows = {
      {"engine", "median", "p99", "graph median", "samples/s", "memory", "worst error", ""}};
  bool right = true;
  for (const EngineBench& engine : result.engines) {
    right = right && engine.errors.right;
    rows.push_back({engine.name, fmt::format("{:.3f} ms", engine.median_ms),
                    fmt::format("{:.3f} ms", engine.p99_ms),
                    engine.graph_median_ms ? fmt::format("{:.3f} ms", *engine.graph_median_ms) : "-",
                    fmt::format("{:.0f}", engine.samples_per_second), ByteText(engine.device_bytes),
                    WorstError(engine.errors), engine.errors.right ? "right" : "NOT RIGHT"});
  }
  text += Table(rows, width);
  for (const EngineBench& engine : result.engines) {
    if (!engine.errors.failure.empty())
      text += Line("  {} does not run: {}", engine.name, engine.errors.failure);
  }
  return text +
         Verdict(right ? "RIGHT: every engine agrees with FP32 on every sample"
                       : "NOT RIGHT: an engine is outside the tolerance",
                 right, color) +
         "\n";
}

}  // namespace halfsafe
