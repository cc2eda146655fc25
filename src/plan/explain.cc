#include <fmt/format.h>

#include <cmath>

#include "base/text.h"
#include "halfsafe/error.h"
#include "halfsafe/plan.h"
#include "model/graph_index.h"
#include "model/precision_ports.h"
#include "plan/rules.h"

namespace halfsafe {
namespace {

std::string DescribeTensor(const RangeTable& ranges, const Plan& plan, const std::string& name,
                           std::string_view role) {
  const TensorStats* stats = ranges.Find(name);
  if (stats == nullptr) return fmt::format("  {} {}: not floating point, or not scanned\n", role, name);
  std::string line = fmt::format("  {} {}: {} values in [{:.6g}, {:.6g}], max |x| {:.6g}", role, name,
                                 stats->count, stats->min, stats->max, stats->abs_max);
  if (!stats->abs_max_sample.empty()) line += fmt::format(" in sample {}", stats->abs_max_sample);
  if (stats->nan_count + stats->inf_count > 0)
    line += fmt::format(", {} NaN, {} infinite", stats->nan_count, stats->inf_count);
  if (stats->overflow_count > 0) line += fmt::format(", {} past 65504", stats->overflow_count);
  if (stats->subnormal_count > 0)
    line += fmt::format(", {} below FP16's normal range", stats->subnormal_count);
  if (stats->sum_bound) line += fmt::format(", partial sums below {:.4g}", *stats->sum_bound);
  for (const TensorPlan& tensor : plan.tensors) {
    if (tensor.name == name)
      line += fmt::format(", stored times 2^{}: max |x| {:.6g}", -tensor.exponent,
                          std::ldexp(stats->abs_max, -tensor.exponent));
  }
  return line + "\n";
}

std::string WhatReasonMeans(const std::string& reason) {
  for (const Rule& rule : Rules()) {
    if (rule.name == reason) return std::string(rule.what);
  }
  if (reason == "safe") return "Nothing speaks against FP16.";
  if (reason == "cheaper-than-casts")
    return "Its neighbours are FP32, and Casts around it would cost more than FP16 saves.";
  if (reason == "as-in-file") return "The file, which is right as it is, has the node in this type.";
  if (reason == "does-not-load") return "ONNX Runtime's CPU provider can't load or run it in 16 bits.";
  if (reason == "error") return "Its rounding moved the outputs more than the tolerance allows.";
  return "";
}

}  // namespace

std::string Explain(const Model& model, const RangeTable& ranges, const Plan& plan, const std::string& name) {
  const GraphIndex& index = model.Lifted().index();
  const int id = index.FindNode(name);
  if (id < 0) {
    std::vector<std::string> names;
    for (const NodeInfo& node : index.nodes()) names.push_back(node.name);
    // Tensors and nodes are easily confused: exporters give both the same stems.
    const int tensor = index.FindTensor(name);
    const int producer = tensor < 0 ? -1 : index.tensor(tensor).producer;
    if (producer >= 0) {
      throw BadUsage(
          fmt::format("{} is a tensor; the node that writes it is {}", name, index.node(producer).name));
    }
    throw BadUsage(fmt::format("the model has no node {}{}", name, DidYouMean(name, names)));
  }
  const NodeInfo& node = index.node(id);
  std::string text = fmt::format("{} ({})\n", name, node.proto->op_type());
  bool planned = false;
  for (const NodePlan& entry : plan.nodes) {
    if (entry.name != name) continue;
    planned = true;
    text += fmt::format("  {} because: {}\n", PrecisionName(entry.precision), entry.reason);
    if (const std::string what = WhatReasonMeans(entry.reason); !what.empty())
      text += fmt::format("  {}\n", what);
    if (!entry.evidence.empty()) text += fmt::format("  evidence: {}\n", entry.evidence);
  }
  if (!planned) text += "  stays as it is: it has no FP32 tensors that could be FP16\n";
  for (const int tensor : node.inputs) {
    if (tensor >= 0) text += DescribeTensor(ranges, plan, index.tensor(tensor).name, "reads ");
  }
  for (const int tensor : node.outputs) {
    if (tensor >= 0) text += DescribeTensor(ranges, plan, index.tensor(tensor).name, "writes");
  }
  return text;
}

}  // namespace halfsafe
