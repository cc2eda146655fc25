#include <fmt/format.h>
#include <onnx/defs/attr_proto_util.h>

#include <algorithm>
#include <array>
#include <map>
#include <unordered_set>

#include "halfsafe/rewrite.h"
#include "model/graph_index.h"
#include "model/walk.h"
#include "rewrite/rewriter.h"

namespace halfsafe {
namespace {

/// Operators that sum products of their first two inputs; a third is added.
constexpr std::array kProducts = {"MatMul", "Gemm"};

/// Writes the 16-bit products of one graph as FP32 ones between Casts.
class Widener {
 public:
  Widener(const GraphIndex& index, onnx::GraphProto* copy, std::unordered_set<std::string>* taken)
      : index_(index), copy_(copy), taken_(taken) {}

  /// `ids`: the graph's nodes by their numbers in the index, in order.
  void Run(const std::vector<int>& ids) {
    google::protobuf::RepeatedPtrField<onnx::NodeProto> nodes;
    nodes.Swap(copy_->mutable_node());
    for (int i = 0; i < nodes.size(); ++i) {
      const NodeInfo& info = index_.node(ids[static_cast<size_t>(i)]);
      if (IsProduct(info)) {
        WidenProduct(info, nodes.Mutable(i));
      } else {
        copy_->add_node()->Swap(nodes.Mutable(i));
      }
    }
  }

 private:
  bool IsProduct(const NodeInfo& node) const {
    const std::string& op = node.proto->op_type();
    const bool sums =
        node.proto->domain().empty() && std::find(kProducts.begin(), kProducts.end(), op) != kProducts.end();
    return sums && node.outputs[0] >= 0 && IsSixteenBit(index_.tensor(node.outputs[0]).dtype);
  }

  void WidenProduct(const NodeInfo& info, onnx::NodeProto* node) {
    const DType narrow = index_.tensor(info.outputs[0]).dtype;
    const std::string result = node->output(0);
    for (int slot = 0; slot < node->input_size(); ++slot) {
      if (!node->input(slot).empty()) node->set_input(slot, Wide(node->input(slot)));
    }
    node->set_output(0, NewName(result + ".sum"));
    const std::string sum = node->output(0);
    copy_->add_node()->Swap(node);
    AddCast(sum, result, narrow, fmt::format("{} is summed up in FP32", result));
  }

  /// The tensor in FP32, by one Cast however many products read it.
  std::string Wide(const std::string& name) {
    const auto [found, fresh] = wide_.try_emplace(name);
    if (fresh) {
      found->second = NewName(name + ".wide");
      AddCast(name, found->second, DType::kFloat, fmt::format("products of {} are summed up in FP32", name));
    }
    return found->second;
  }

  /// `why`: the finding.
  void AddCast(const std::string& from, const std::string& to, DType dtype, std::string why) {
    onnx::NodeProto* node = copy_->add_node();
    node->set_op_type("Cast");
    node->set_name("Cast_" + to);
    node->add_input(from);
    node->add_output(to);
    *node->add_attribute() = onnx::MakeAttribute("to", static_cast<int64_t>(dtype));
    NodeFindings findings;
    findings.inserted = std::move(why);
    SetFindings(findings, node);
  }

  std::string NewName(const std::string& base) {
    std::string name = base;
    for (int copy = 2; !taken_->insert(name).second; ++copy) name = base + "_" + std::to_string(copy);
    return name;
  }

  const GraphIndex& index_;
  onnx::GraphProto* copy_;
  std::unordered_set<std::string>* taken_;
  std::map<std::string, std::string> wide_;
};

}  // namespace

Model AccumulateInFp32(const Model& model) {
  const GraphIndex& index = model.index();
  std::unordered_set<std::string> taken;
  for (const TensorInfo& tensor : index.tensors()) taken.insert(tensor.local);
  onnx::ModelProto proto = model.proto();
  const std::vector<onnx::GraphProto*> graphs = AllGraphs(proto.mutable_graph());
  // Inner graphs first: the nodes that hold them are moved later, and move them along.
  for (size_t graph = graphs.size(); graph-- > 0;)
    Widener(index, graphs[graph], &taken).Run(index.NodesOf(static_cast<int>(graph)));
  Model result(model, std::move(proto));
  result.SetKnownTypes(model.known_types());
  return result;
}

}  // namespace halfsafe
