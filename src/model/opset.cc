#include "model/opset.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <map>
#include <new>
#include <string>
#include <unordered_map>
#include <unordered_set>

#include "halfsafe/error.h"
#include "model/graph_index.h"
#include "model/infer_types.h"
#include "model/walk.h"

namespace halfsafe {
namespace {

/// Before opset 6 operators had attributes for the memory that they write to, which ONNX's converter knows of
/// a few only.
constexpr int kOldest = 6;

/// The IR version that came with an opset, where it was a new one.
constexpr std::pair<int, int> kIrVersions[] = {{6, 3},  {9, 4},   {10, 5},  {11, 6},  {12, 7},  {15, 8},
                                               {19, 9}, {21, 10}, {23, 11}, {24, 12}, {25, 13}, {28, 14}};

int IrVersionFor(int opset) {
  const auto next = std::upper_bound(std::begin(kIrVersions), std::end(kIrVersions), opset,
                                     [](int value, const auto& row) { return value < row.first; });
  return std::prev(next)->second;
}

void RequireTarget(const Model& model, int from, int to) {
  const int newest = onnx::OpSchemaRegistry::DomainToVersionRange::Instance().Map().at("").second;
  const std::string& path = model.path().string();
  if (from == 0)
    throw BadInput(fmt::format("{}: it imports no opset of the standard domain that could be raised", path));
  if (to < from || to > newest) {
    throw BadUsage(fmt::format(
        "{}: opset {} was asked for, expected one from {}, the model's own, to {}, the newest here", path, to,
        from, newest));
  }
  if (to > from && from < kOldest) {
    throw BadInput(fmt::format("{}: its opset is {}; models of opset {} and newer can be converted", path,
                               from, kOldest));
  }
}

/// The message of ONNX's assertions without the place in its source.
std::string Reason(const std::exception& error) {
  const std::string text = error.what();
  const size_t end = text.find("` failed: ");
  return end == std::string::npos ? text : text.substr(end + 10);
}

/// Gives out names that nothing in the model has, in any graph.
class NewNames {
 public:
  void Take(const std::string& name) { taken_.insert(name); }
  std::string For(const std::string& base) {
    std::string name = base;
    for (int copy = 2; !taken_.insert(name).second; ++copy) name = fmt::format("{}#{}", base, copy);
    return name;
  }

 private:
  std::unordered_set<std::string> taken_;
};

/// Names what conversion has added after the node that it is for.
void NameAdded(const onnx::NodeProto& original, NewNames* node_names, NewNames* tensor_names,
               ConvertedNode* converted) {
  std::unordered_map<std::string, std::string> names = {{"", ""}};
  for (const auto* list : {&original.input(), &original.output()}) {
    for (const std::string& name : *list) names[name] = name;
  }
  const std::string& base = LocalNodeName(original);
  for (onnx::NodeProto& node : converted->nodes) {
    const std::string name = fmt::format("{}:{}", base, node.op_type());
    node.set_name(node_names->For(name));
    for (std::string& input : *node.mutable_input()) input = names.at(input);
    for (std::string& output : *node.mutable_output()) {
      const auto [known, added] = names.emplace(output, "");
      if (added) known->second = tensor_names->For(name);
      output = known->second;
    }
  }
  // A node without a name goes by its first output: where another node writes that now, it needs the name.
  onnx::NodeProto& main = converted->nodes[converted->main];
  const bool same = !original.name().empty() || main.output(0) == original.output(0);
  main.set_name(same ? original.name() : node_names->For(base));
}

/// Makes `node` what it has become. What an attribute says beside its value stays.
void Become(const onnx::NodeProto& converted, onnx::NodeProto* node) {
  node->set_op_type(converted.op_type());
  *node->mutable_input() = converted.input();
  *node->mutable_output() = converted.output();
  if (converted.name() != node->name()) node->set_name(converted.name());
  auto* attributes = node->mutable_attribute();
  for (int i = attributes->size(); i-- > 0;) {
    if (!Converts(attributes->Get(i))) continue;
    if (FindAttribute(converted, attributes->Get(i).name()) == nullptr) attributes->DeleteSubrange(i, 1);
  }
  for (const auto& attribute : converted.attribute()) {
    const auto found = std::find_if(attributes->begin(), attributes->end(),
                                    [&](const auto& other) { return other.name() == attribute.name(); });
    onnx::AttributeProto* to = found == attributes->end() ? attributes->Add() : &*found;
    onnx::AttributeProto value = attribute;
    if (to->has_doc_string()) value.set_doc_string(to->doc_string());
    *to = std::move(value);
  }
}

/// Before IR version 4 weights are inputs too, whose values nobody can give. From then on, a weight that is
/// an input is one that a caller may replace, and ONNX Runtime takes no such weight for a constant.
void RaiseIrVersion(int version, onnx::ModelProto* proto) {
  if (proto->ir_version() >= version) return;
  if (proto->ir_version() < 4 && version >= 4) {
    std::unordered_set<std::string> weights;
    for (const auto& tensor : proto->graph().initializer()) weights.insert(tensor.name());
    auto* inputs = proto->mutable_graph()->mutable_input();
    inputs->erase(std::remove_if(inputs->begin(), inputs->end(),
                                 [&](const auto& input) { return weights.contains(input.name()); }),
                  inputs->end());
  }
  proto->set_ir_version(version);
}

/// Throws what ONNX finds wrong with a model: its nodes, then its types.
void Verify(onnx::ModelProto proto, int opset) {
  for (const onnx::GraphProto* graph : AllGraphs(proto.mutable_graph())) {
    for (const auto& node : graph->node()) {
      const auto* schema =
          IsStandard(node.domain()) ? onnx::OpSchemaRegistry::Schema(node.op_type(), opset, "") : nullptr;
      if (schema != nullptr) schema->Verify(node);
    }
  }
  // Propagating values would parse those of weights, which are not here.
  InferTypes(&proto, onnx::ShapeInferenceOptions(/*check_type_val=*/true, /*strict_mode_val=*/1,
                                                 /*data_prop_val=*/false));
}

}  // namespace

OpsetConversion::OpsetConversion(const Model& model, int opset)
    : from_(OpsetVersion(model.proto(), "")), to_(opset) {
  RequireTarget(model, from_, to_);
  if (from_ == to_) return;
  ConvertNodes(model);
  RequireValid(model);
}

void OpsetConversion::ConvertNodes(const Model& model) {
  const GraphIndex& index = model.index();
  NewNames node_names, tensor_names;
  for (const TensorInfo& tensor : index.tensors()) tensor_names.Take(tensor.local);
  for (const NodeInfo& node : index.nodes()) node_names.Take(node.proto->name());
  nodes_.resize(index.graphs().size());
  for (const NodeInfo& node : index.nodes()) {
    ConvertedNode& converted = nodes_[static_cast<size_t>(node.graph)].emplace_back();
    const std::string& op = node.proto->op_type();
    if (!IsStandard(node.proto->domain())) continue;
    try {
      if (node.schema != nullptr) {
        converted = ConvertNode(index, node, from_, to_);
        NameAdded(*node.proto, &node_names, &tensor_names, &converted);
      } else if (onnx::OpSchemaRegistry::Schema(op, to_, "") != nullptr) {
        throw std::runtime_error("another operator has that name there");
      }
    } catch (const std::bad_alloc&) {
      throw;
    } catch (const std::exception& error) {
      throw BadInput(fmt::format("{}: node {} ({}) can't be converted from opset {} to {}: {}",
                                 model.path().string(), node.name, op, from_, to_, Reason(error)));
    }
  }
}

/// Adapters don't see whether the types that they make up fit. What was wrong before may be wrong after.
void OpsetConversion::RequireValid(const Model& model) const {
  const onnx::ModelProto before = WithoutLargeTensors(model.proto(), 4096);
  onnx::ModelProto after = before;
  ApplyTo(&after);
  try {
    Verify(std::move(after), to_);
  } catch (const std::bad_alloc&) {
    throw;
  } catch (const std::exception& error) {
    try {
      Verify(before, from_);
    } catch (const std::bad_alloc&) {
      throw;
    } catch (const std::exception&) {
      return;
    }
    throw BadInput(fmt::format("{}: converted from opset {} to {} it is no valid model: {}",
                               model.path().string(), from_, to_, Reason(error)));
  }
}

void OpsetConversion::ApplyTo(onnx::ModelProto* proto) const {
  if (from_ == to_) return;
  // The innermost graphs first: nodes move as the nodes around them are converted.
  const std::vector<onnx::GraphProto*> graphs = AllGraphs(proto->mutable_graph());
  for (size_t number = graphs.size(); number-- > 0;) {
    google::protobuf::RepeatedPtrField<onnx::NodeProto> nodes;
    nodes.Swap(graphs[number]->mutable_node());
    for (int i = 0; i < nodes.size(); ++i) {
      const ConvertedNode& converted = nodes_[number][static_cast<size_t>(i)];
      for (size_t k = 0; k < std::max<size_t>(converted.nodes.size(), 1); ++k) {
        onnx::NodeProto* node = graphs[number]->add_node();
        if (k != converted.main) {
          *node = converted.nodes[k];
          continue;
        }
        node->Swap(nodes.Mutable(i));
        if (!converted.nodes.empty()) Become(converted.nodes[k], node);
      }
    }
  }
  for (auto& import : *proto->mutable_opset_import()) {
    if (IsStandard(import.domain())) import.set_version(to_);
  }
  RaiseIrVersion(IrVersionFor(to_), proto);
}

}  // namespace halfsafe
