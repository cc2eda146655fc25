#include "model/node_converter.h"

#include <onnx/version_converter/convert.h>

#include <algorithm>
#include <set>
#include <stdexcept>

#include "model/value_info.h"

namespace halfsafe {
namespace {

namespace conversion = onnx::version_conversion;

/// The name by which the node is found again: those that the converter adds have none.
constexpr char kMarker[] = "node";

/// Before opset 11 Resize had no attributes for where it reads; their defaults say something else.
onnx::Node* AdaptResize(const std::shared_ptr<onnx::Graph>& graph, onnx::Node* node) {
  conversion::Resize_10_11().adapt(graph, node);
  node->s_(onnx::Symbol("coordinate_transformation_mode"), "asymmetric");
  node->s_(onnx::Symbol("nearest_mode"), "floor");
  return node;
}

onnx::Node* RefuseScan(const std::shared_ptr<onnx::Graph>&, onnx::Node*) {
  throw std::runtime_error("its batch axis has no counterpart from opset 9 on");
}

int RankOf(const onnx::Value& value) {
  if (!value.has_sizes())
    throw std::runtime_error(
        "the number of axes of an operand isn't known, and which of them meet depends on it");
  return static_cast<int>(value.sizes().size());
}

/// Puts axes of size 1 behind those of input 1, so that they end where the other operand's end.
void AppendAxes(const std::shared_ptr<onnx::Graph>& graph, onnx::Node* node, int count) {
  if (count <= 0) return;
  onnx::Value* operand = node->inputs()[1];
  std::vector<int64_t> axes;
  for (int i = 0; i < count; ++i) axes.push_back(RankOf(*operand) + i);
  onnx::Node* unsqueeze = graph->create(onnx::Symbol("Unsqueeze"), 1);
  unsqueeze->addInput(operand);
  unsqueeze->is_(onnx::Symbol("axes"), std::move(axes));
  unsqueeze->insertBefore(node);
  node->replaceInput(1, unsqueeze->output());
}

/// Before opset 7 an attribute said at which axis of the first operand the second one's begin; now both end
/// together.
onnx::Node* AdaptBroadcast(const std::shared_ptr<onnx::Graph>& graph, onnx::Node* node) {
  static const onnx::Symbol kBroadcast("broadcast"), kAxis("axis");
  if (node->hasAttribute(kBroadcast) && node->i(kBroadcast) != 0 && node->hasAttribute(kAxis)) {
    const int first = RankOf(*node->inputs()[0]), second = RankOf(*node->inputs()[1]);
    const int axis = static_cast<int>(node->i(kAxis)) + (node->i(kAxis) < 0 ? first : 0);
    AppendAxes(graph, node, first - axis - second);
  }
  for (const onnx::Symbol name : {kBroadcast, kAxis}) {
    if (node->hasAttribute(name)) node->removeAttribute(name);
  }
  return node;
}

/// Before opset 7 the slope was one number, or one for each channel, which is axis 1.
onnx::Node* AdaptPRelu(const std::shared_ptr<onnx::Graph>& graph, onnx::Node* node) {
  if (RankOf(*node->inputs()[1]) == 1) AppendAxes(graph, node, RankOf(*node->inputs()[0]) - 2);
  return node;
}

/// A model of one node.
onnx::ModelProto ModelOf(const GraphIndex& index, const NodeInfo& node, int opset) {
  onnx::ModelProto model;
  model.set_ir_version(onnx::Version::IR_VERSION);
  model.add_opset_import()->set_version(opset);
  onnx::GraphProto* graph = model.mutable_graph();
  onnx::NodeProto* copy = graph->add_node();
  copy->set_name(kMarker);
  copy->set_op_type(node.proto->op_type());
  *copy->mutable_input() = node.proto->input();
  *copy->mutable_output() = node.proto->output();
  for (const auto& attribute : node.proto->attribute()) {
    if (Converts(attribute)) *copy->add_attribute() = attribute;
  }
  std::set<int> described;
  for (const int input : node.inputs) {
    if (input >= 0 && described.insert(input).second)
      Declare(index.tensor(input), index.tensor(input).dtype, graph->add_input());
  }
  for (const int output : node.outputs) {
    if (output >= 0) Declare(index.tensor(output), index.tensor(output).dtype, graph->add_output());
  }
  return model;
}

/// An initializer as a node: it then goes where the node goes.
onnx::NodeProto ConstantNode(const onnx::TensorProto& tensor) {
  onnx::NodeProto node;
  node.set_op_type("Constant");
  node.add_output(tensor.name());
  onnx::AttributeProto* value = node.add_attribute();
  value->set_name("value");
  value->set_type(onnx::AttributeProto::TENSOR);
  *value->mutable_t() = tensor;
  value->mutable_t()->clear_name();
  return node;
}

/// ONNX's adapters, with others where those would change what a node computes. Hardmax changed as Softmax
/// did.
class Adapters : public conversion::DefaultVersionConverter {
 public:
  Adapters() {
    for (const char* op : {"Add", "Sub", "Mul", "Div", "Pow", "And", "Or", "Xor", "Equal", "Greater", "Less"})
      registerAdapter(op, 6, 7, &AdaptBroadcast);
    registerAdapter("PRelu", 6, 7, &AdaptPRelu);
    registerAdapter("Scan", 8, 9, &RefuseScan);
    registerAdapter("Resize", 10, 11, &AdaptResize);
    registerAdapter(std::make_unique<conversion::Softmax_12_13>("Hardmax"));
  }
};

/// They hold copies of every operator's schema: made once.
const Adapters& SharedAdapters() {
  static const Adapters adapters;
  return adapters;
}

}  // namespace

bool Converts(const onnx::AttributeProto& attribute) {
  switch (attribute.type()) {
    case onnx::AttributeProto::FLOAT:
    case onnx::AttributeProto::FLOATS:
    case onnx::AttributeProto::INT:
    case onnx::AttributeProto::INTS:
    case onnx::AttributeProto::STRING:
    case onnx::AttributeProto::STRINGS:
      return true;
    default:
      return false;
  }
}

ConvertedNode ConvertNode(const GraphIndex& index, const NodeInfo& node, int from, int to) {
  const onnx::ModelProto model =
      SharedAdapters().convert_version(ModelOf(index, node, from), onnx::OpSetID(from), onnx::OpSetID(to));
  ConvertedNode converted;
  for (const auto& tensor : model.graph().initializer()) converted.nodes.push_back(ConstantNode(tensor));
  converted.nodes.insert(converted.nodes.end(), model.graph().node().begin(), model.graph().node().end());
  const auto find = [&](const auto& is_main) {
    return static_cast<size_t>(std::find_if(converted.nodes.begin(), converted.nodes.end(), is_main) -
                               converted.nodes.begin());
  };
  converted.main = find([](const onnx::NodeProto& other) { return other.name() == kMarker; });
  // An operator that is no more has become another one, which is a new node and gives the same results.
  if (converted.main == converted.nodes.size()) {
    const auto& outputs = node.proto->output();
    converted.main = find([&](const onnx::NodeProto& other) {
      return std::equal(outputs.begin(), outputs.end(), other.output().begin(), other.output().end());
    });
  }
  if (converted.main == converted.nodes.size()) throw std::runtime_error("the converter has lost it");
  return converted;
}

}  // namespace halfsafe
