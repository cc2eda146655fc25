#include "observe/chains.h"

#include <onnx/defs/attr_proto_util.h>

#include <algorithm>
#include <deque>
#include <unordered_map>
#include <unordered_set>

#include "observe/chain_builder.h"
#include "observe/chain_groups.h"
#include "runtime/chain_op.h"

namespace halfsafe {
namespace {

/// Whether a tensor is read outside of `nodes`, or wanted for itself.
bool LeavesGroup(const TensorInfo& tensor, const std::unordered_set<int>& nodes, bool needed) {
  return needed || tensor.graph_output ||
         std::any_of(tensor.uses.begin(), tensor.uses.end(),
                     [&](const TensorUse& use) { return !nodes.contains(use.node); });
}

/// An input that the chain observes goes first, so that the first output can take its place.
void PutFirst(int input, ChainBuilder* builder) {
  std::swap(builder->inputs[0], builder->inputs[static_cast<size_t>(input)]);
  for (ChainStep& step : builder->chain.steps) {
    for (ChainOperand* operand : {&step.a, &step.b}) {
      if (operand->kind != ChainOperand::Kind::kInput) continue;
      if (operand->index == 0) {
        operand->index = input;
      } else if (operand->index == input) {
        operand->index = 0;
      }
    }
  }
}

/// Makes chains out of groups.
class Inserter {
 public:
  Inserter(const Model& model, const GraphIndex& index, const ChainNeeds& needs, SessionModel* session)
      : model_(model), index_(index), needs_(needs), session_(session) {
    for (const NodeInfo& node : index.nodes())
      fits_.push_back(node.graph == 0 && FitsChain(model, index, node));
    observed_.assign(index.tensors().size(), false);
  }

  const std::vector<bool>& fits() const { return fits_; }

  void Add(const std::vector<int>& nodes) {
    ChainBuilder builder(model_, index_);
    const std::unordered_set<int> members(nodes.begin(), nodes.end());
    std::vector<int> leaving;  // Last one first.
    for (const int number : nodes) {
      const NodeInfo& node = index_.node(number);
      const int tensor = node.outputs[0];
      builder.Add(node, needs_.id_of(tensor));
      if (LeavesGroup(index_.tensor(tensor), members, needs_.is_needed(tensor)))
        leaving.insert(leaving.begin(), tensor);
    }
    if (builder.inputs.empty() || leaving.empty()) return;  // Nothing runs it.
    for (const int number : nodes) {
      const int tensor = index_.node(number).outputs[0];
      observed_[static_cast<size_t>(tensor)] = needs_.id_of(tensor) >= 0;
      chain_at_[tensor] = nullptr;
    }
    ObserveInputs(&builder);
    onnx::NodeProto& node = chain_nodes_.emplace_back();
    WriteNode(&builder, leaving, &node);
    chain_at_[index_.node(nodes.back()).outputs[0]] = &node;
    session_->chains.push_back(std::move(builder.chain));
  }

  /// Puts the chains in place of their last nodes.
  void Replace() {
    onnx::GraphProto* graph = session_->proto.mutable_graph();
    google::protobuf::RepeatedPtrField<onnx::NodeProto> nodes;
    nodes.Swap(graph->mutable_node());
    for (onnx::NodeProto& node : nodes) {
      const int tensor = node.output_size() > 0 ? index_.FindTensor(node.output(0)) : -1;
      const auto found = chain_at_.find(tensor);
      if (found == chain_at_.end()) {
        graph->add_node()->Swap(&node);
      } else if (found->second != nullptr) {
        *graph->add_node() = *found->second;
      }
    }
    if (!session_->chains.empty()) ImportTapDomain(&session_->proto);
  }

  std::vector<bool> observed() && { return std::move(observed_); }

 private:
  /// Spares the taps of results that the chain reads anyway.
  void ObserveInputs(ChainBuilder* builder) {
    builder->chain.inputs.assign(builder->inputs.size(), -1);
    const auto observable = [&](int tensor) {
      if (tensor < 0 || observed_[static_cast<size_t>(tensor)] || needs_.id_of(tensor) < 0) return false;
      const TensorInfo& info = index_.tensor(tensor);
      // What a chain makes, it also observes.
      return info.kind == TensorKind::kActivation && info.graph == 0 &&
             !fits_[static_cast<size_t>(info.producer)];
    };
    const auto first = std::find_if(builder->inputs.begin(), builder->inputs.end(), observable);
    if (first != builder->inputs.end()) PutFirst(static_cast<int>(first - builder->inputs.begin()), builder);
    for (size_t i = 0; i < builder->inputs.size(); ++i) {
      const int tensor = builder->inputs[i];
      if (!observable(tensor)) continue;
      builder->chain.inputs[i] = needs_.id_of(tensor);
      observed_[static_cast<size_t>(tensor)] = true;
    }
  }

  void WriteNode(ChainBuilder* builder, const std::vector<int>& leaving, onnx::NodeProto* node) {
    node->set_op_type(kChainOp);
    node->set_domain(kTapDomain);
    node->set_name("halfsafe.chain/" + index_.tensor(leaving[0]).name);
    for (const int tensor : builder->inputs) {
      node->add_input(tensor >= 0 ? index_.tensor(tensor).local
                                  : AddConstant(builder->new_constants[static_cast<size_t>(-1 - tensor)]));
    }
    for (const int tensor : leaving) {
      node->add_output(index_.tensor(tensor).local);
      builder->chain.outputs.push_back(builder->step_of.at(tensor));
    }
    *node->add_attribute() = onnx::MakeAttribute("chain", static_cast<int64_t>(session_->chains.size()));
  }

  std::string AddConstant(const ChainBuilder::NewConstant& constant) {
    auto* tensor = session_->proto.mutable_graph()->add_initializer();
    tensor->set_name(constant.name);
    tensor->set_data_type(onnx::TensorProto::FLOAT);
    tensor->mutable_dims()->Add(constant.shape.begin(), constant.shape.end());
    tensor->mutable_float_data()->Add(constant.values.begin(), constant.values.end());
    return constant.name;
  }

  const Model& model_;
  const GraphIndex& index_;
  const ChainNeeds& needs_;
  SessionModel* session_;
  std::vector<bool> fits_;      ///< Per node.
  std::vector<bool> observed_;  ///< Per tensor.
  std::deque<onnx::NodeProto> chain_nodes_;
  std::unordered_map<int, const onnx::NodeProto*>
      chain_at_;  ///< By result: the chain to stand there, or none.
};

}  // namespace

std::vector<bool> InsertChains(const Model& model, const GraphIndex& index, const ChainNeeds& needs,
                               SessionModel* session) {
  Inserter inserter(model, index, needs, session);
  for (const std::vector<int>& group : GroupNodes(index, inserter.fits())) inserter.Add(group);
  inserter.Replace();
  return std::move(inserter).observed();
}

}  // namespace halfsafe
