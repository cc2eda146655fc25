#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "base/display.h"
#include "halfsafe/rewrite.h"
#include "rewrite/rewriter.h"

namespace halfsafe {
namespace {

constexpr std::string_view kPrefix = "halfsafe.";

/// The fields of NodeFindings by the keys under which they stand in a file.
struct Key {
  std::string_view name;
  std::string NodeFindings::*field;
};
constexpr Key kKeys[] = {
    {"halfsafe.precision", &NodeFindings::precision}, {"halfsafe.reason", &NodeFindings::reason},
    {"halfsafe.evidence", &NodeFindings::evidence},   {"halfsafe.rescaled", &NodeFindings::rescaled},
    {"halfsafe.constants", &NodeFindings::constants}, {"halfsafe.inserted", &NodeFindings::inserted},
};

void Add(const std::string& sentence, std::string* text) {
  if (!text->empty()) *text += "; ";
  *text += sentence;
}

/// What a node writes, and reads of constants and attributes, times powers of two.
std::string Rescaled(const Rewriter& rewriter, int id) {
  const NodeInfo& node = rewriter.index.node(id);
  const std::vector<int>& read = rewriter.read_exponent[static_cast<size_t>(id)];
  std::string text;
  for (const int output : node.outputs) {
    const int exponent = output < 0 ? 0 : rewriter.exponents[static_cast<size_t>(output)];
    if (exponent != 0)
      Add(fmt::format("{} is stored times 2^{}", rewriter.index.tensor(output).name, -exponent), &text);
  }
  for (size_t slot = 0; slot < node.inputs.size(); ++slot) {
    const int input = node.inputs[slot];
    if (input < 0 || read[slot] == 0 || rewriter.index.tensor(input).kind != TensorKind::kConstant) continue;
    Add(fmt::format("{} is taken times 2^{}", rewriter.index.tensor(input).name, -read[slot]), &text);
  }
  for (const ScaledAttribute& attribute : rewriter.scales.of(id).attributes) {
    const int exponent = attribute.input < read.size() ? attribute.times * read[attribute.input] : 0;
    if (exponent != 0 && ScalableAttribute(node, attribute.name))
      Add(fmt::format("{} is taken times 2^{}", attribute.name, exponent), &text);
  }
  return text;
}

/// What became of constants that a node reads.
std::string ChangedConstants(const Rewriter& rewriter,
                             const std::unordered_map<std::string, const ConstantPlan*>& plans, int id) {
  std::string text;
  for (const int input : rewriter.index.node(id).inputs) {
    if (input < 0) continue;
    const auto plan = plans.find(rewriter.index.tensor(input).name);
    if (plan == plans.end()) continue;
    const std::string became =
        plan->second->clamp ? fmt::format("is clamped to {:g}", *plan->second->clamp) : "is kept from zero";
    Add(fmt::format("{} {} ({}): {}", plan->first, became, plan->second->reason, plan->second->evidence),
        &text);
  }
  return text;
}

void Forget(google::protobuf::RepeatedPtrField<onnx::StringStringEntryProto>* properties) {
  const auto ours = std::remove_if(properties->begin(), properties->end(),
                                   [](const auto& property) { return property.key().starts_with(kPrefix); });
  properties->erase(ours, properties->end());
}

}  // namespace

NodeFindings FindingsOf(const onnx::NodeProto& node) {
  NodeFindings findings;
  for (const auto& property : node.metadata_props()) {
    for (const Key& key : kKeys) {
      if (property.key() == key.name) findings.*key.field = property.value();
    }
  }
  return findings;
}

void SetFindings(const NodeFindings& findings, onnx::NodeProto* node) {
  for (const Key& key : kKeys) {
    if ((findings.*key.field).empty()) continue;
    onnx::StringStringEntryProto* property = node->add_metadata_props();
    property->set_key(std::string(key.name));
    // Samples are files, whose names may be no UTF-8, which ONNX's strings have to be.
    property->set_value(Printable(findings.*key.field));
  }
}

void ClearFindings(onnx::ModelProto* proto) {
  for (onnx::GraphProto* graph : AllGraphs(proto->mutable_graph())) {
    for (auto& node : *graph->mutable_node()) Forget(node.mutable_metadata_props());
  }
}

Model WithoutFindings(const Model& fixed) {
  onnx::ModelProto proto = fixed.proto();
  ClearFindings(&proto);
  Model result(fixed, std::move(proto));
  result.SetKnownTypes(fixed.known_types());
  return result;
}

void Annotate(Rewriter* rewriter) {
  ClearFindings(&rewriter->proto);
  std::unordered_map<std::string, const ConstantPlan*> constants;
  for (const ConstantPlan& plan : rewriter->plan.constants) constants[plan.name] = &plan;
  std::vector<NodeFindings> findings(rewriter->nodes.size());
  for (size_t id = 0; id < findings.size(); ++id) {
    findings[id].rescaled = Rescaled(*rewriter, static_cast<int>(id));
    findings[id].constants = ChangedConstants(*rewriter, constants, static_cast<int>(id));
  }
  for (const NodePlan& plan : rewriter->plan.nodes) {
    const int id = rewriter->index.FindNode(plan.name);
    if (id < 0 || plan.precision == Precision::kFp16)
      continue;  // Where FP16 is the rule, it needs no reason.
    NodeFindings& node = findings[static_cast<size_t>(id)];
    node.precision = PrecisionName(plan.precision);
    node.reason = plan.reason;
    node.evidence = plan.evidence;
  }
  for (size_t id = 0; id < findings.size(); ++id) SetFindings(findings[id], rewriter->nodes[id]);
}

}  // namespace halfsafe
