#include "model/runnable.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "halfsafe/error.h"
#include "model/walk.h"

namespace halfsafe {
namespace {

/// Gives a sequence of maps, which nothing compares. What it makes them of stands in for them.
bool GivesMaps(const NodeInfo& node) {
  return node.proto->op_type() == "ZipMap" && node.proto->domain() == "ai.onnx.ml";
}

/// The tail: nodes that don't run, or give what can't be looked at, and everything behind them. Throws where
/// that isn't a tail.
std::vector<bool> FindTail(const GraphIndex& index, const Model& model, bool custom_ops_loaded) {
  std::vector<bool> tail(index.nodes().size(), false);
  bool any_output_left = false;
  for (size_t id = 0; id < index.nodes().size(); ++id) {
    const NodeInfo& node = index.nodes()[id];
    if (MayRun(node, custom_ops_loaded) && !GivesMaps(node)) {
      for (const int input : node.inputs) {
        const int producer = input < 0 ? -1 : index.tensor(input).producer;
        if (producer < 0 || !tail[static_cast<size_t>(producer)]) continue;
        const NodeInfo& lacking = index.node(producer);
        throw BadInput(fmt::format(
            "{}: ONNX Runtime lacks operator {} of node {}, and {} ({}) needs its result; load a library "
            "that has it with --custom-ops LIB.so",
            model.path().string(), lacking.proto->op_type(), lacking.name, node.name, node.proto->op_type()));
      }
      any_output_left = true;
      continue;
    }
    if (node.graph != 0) {
      throw BadInput(fmt::format(
          "{}: ONNX Runtime lacks operator {} of node {}, which stands inside a body; load a library that "
          "has it with --custom-ops LIB.so",
          model.path().string(), node.proto->op_type(), node.name));
    }
    tail[id] = true;
  }
  if (!any_output_left)
    throw BadInput(fmt::format("{}: ONNX Runtime has none of the model's operators", model.path().string()));
  return tail;
}

}  // namespace

bool MayRun(const NodeInfo& node, bool custom_ops_loaded) {
  const std::string& domain = node.proto->domain();
  return node.schema != nullptr || node.runtime_schema != nullptr || custom_ops_loaded ||
         domain.starts_with("com.microsoft") || domain.starts_with("ai.onnx.");
}

std::optional<Model> RunnablePart(const Model& model, bool custom_ops_loaded) {
  const GraphIndex& index = model.index();
  const std::vector<bool> tail = FindTail(index, model, custom_ops_loaded);
  if (std::find(tail.begin(), tail.end(), true) == tail.end()) return std::nullopt;

  onnx::ModelProto proto = model.proto();
  onnx::GraphProto* graph = proto.mutable_graph();
  google::protobuf::RepeatedPtrField<onnx::NodeProto> nodes;
  google::protobuf::RepeatedPtrField<onnx::ValueInfoProto> outputs;
  nodes.Swap(graph->mutable_node());
  outputs.Swap(graph->mutable_output());
  std::set<std::string> gone;
  std::vector<std::pair<std::string, std::string>> boundary;  // Name of the output, tensor it shows.
  int next = 0;
  for (size_t id = 0; id < index.nodes().size(); ++id) {
    const NodeInfo& node = index.nodes()[id];
    if (node.graph != 0) continue;
    onnx::NodeProto* proto_node = nodes.Mutable(next++);
    if (!tail[id]) {
      graph->add_node()->Swap(proto_node);
      continue;
    }
    for (const auto& output : proto_node->output()) gone.insert(output);
    for (size_t slot = 0; slot < node.inputs.size(); ++slot) {
      const int input = node.inputs[slot];
      if (input < 0 || index.tensor(input).kind == TensorKind::kConstant) continue;
      const int producer = index.tensor(input).producer;
      if (producer >= 0 && tail[static_cast<size_t>(producer)]) continue;
      boundary.emplace_back(fmt::format("{}{}:{}", kTailPrefix, node.name, slot), index.tensor(input).local);
    }
  }
  for (auto& output : outputs) {
    if (!gone.contains(output.name())) graph->add_output()->Swap(&output);
  }
  for (const auto& [name, tensor] : boundary) {
    onnx::NodeProto* identity = graph->add_node();
    identity->set_op_type("Identity");
    identity->set_name(name);
    identity->add_input(tensor);
    identity->add_output(name);
    onnx::ValueInfoProto* output = graph->add_output();
    output->set_name(name);
    const TensorInfo& info = index.tensor(index.FindTensor(0, tensor));
    if (info.dtype != DType::kUndefined)
      output->mutable_type()->mutable_tensor_type()->set_elem_type(static_cast<int>(info.dtype));
  }
  Model part(model, std::move(proto));
  part.SetKnownTypes(model.known_types());
  return part;
}

}  // namespace halfsafe
