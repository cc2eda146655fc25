#include "runtime/shape_only.h"

#include <algorithm>
#include <string>
#include <unordered_set>

#include "runtime/tap.h"

namespace halfsafe {
namespace {

using Names = std::unordered_set<std::string>;

bool ReadsShapeAlone(const onnx::NodeProto& node) {
  return (node.domain().empty() || node.domain() == "ai.onnx") &&
         (node.op_type() == "Shape" || node.op_type() == "Size");
}

void CollectReads(const onnx::GraphProto& graph, Names* read) {
  for (const auto& output : graph.output()) read->insert(output.name());
  for (const auto& node : graph.node()) {
    read->insert(node.input().begin(), node.input().end());
    for (const auto& attribute : node.attribute()) {
      if (attribute.has_g()) CollectReads(attribute.g(), read);
    }
  }
}

class Keeper {
 public:
  explicit Keeper(const onnx::GraphProto& graph) { CollectReads(graph, &read_); }

  /// Backwards through a graph. `values` has the names whose values something needs, and gets those that this
  /// graph needs from around it. Names are scoped: what one body needs, another one may think it needs too.
  void Visit(onnx::GraphProto* graph, Names* values) {
    onnx::GraphProto kept;
    for (int i = graph->node_size(); i-- > 0;) {
      onnx::NodeProto& node = *graph->mutable_node(i);
      bool needed =
          std::ranges::any_of(node.output(), [&](const auto& name) { return values->contains(name); });
      if (!needed && node.domain() == kTapDomain) {
        // What nobody reads at all is computed: only what is computed otherwise takes others along.
        const auto read =
            std::ranges::find_if(node.output(), [&](const auto& name) { return read_.contains(name); });
        if (read != node.output().end()) AddReader(*read, &kept);
        needed = true;
      }
      for (auto& attribute : *node.mutable_attribute()) {
        if (!attribute.has_g()) continue;
        if (needed) {
          for (const auto& output : attribute.g().output()) values->insert(output.name());
        }
        Visit(attribute.mutable_g(), values);
      }
      if (needed && !ReadsShapeAlone(node)) values->insert(node.input().begin(), node.input().end());
    }
    graph->mutable_node()->MergeFrom(kept.node());
  }

 private:
  static void AddReader(const std::string& name, onnx::GraphProto* kept) {
    onnx::NodeProto* node = kept->add_node();
    node->set_op_type("Cast");
    node->set_name("halfsafe.kept/" + name);
    node->add_input(name);
    node->add_output("halfsafe.kept/" + name);
    onnx::AttributeProto* to = node->add_attribute();
    to->set_name("to");
    to->set_type(onnx::AttributeProto::INT);
    to->set_i(onnx::TensorProto::BOOL);
  }

  Names read_;
};

}  // namespace

void KeepWhatOnlyShapesRead(onnx::ModelProto* model) {
  onnx::GraphProto* graph = model->mutable_graph();
  Names values;
  for (const auto& output : graph->output()) values.insert(output.name());
  Keeper(*graph).Visit(graph, &values);
}

}  // namespace halfsafe
