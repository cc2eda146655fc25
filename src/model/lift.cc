#include "model/lift.h"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>
#include <set>
#include <unordered_set>

#include "halfsafe/error.h"
#include "model/external_data.h"
#include "model/graph_index.h"
#include "model/walk.h"
#include "model/widening.h"

namespace halfsafe {
namespace {

bool IsLiftedFloat(DType dtype) { return dtype == DType::kFloat || IsSixteenBit(dtype); }

/// A copy of the model whose 16-bit constants are FP32. Those in external files stay there, to be widened
/// when they are read: the copy takes no memory for them.
onnx::ModelProto WithFloatConstants(const Model& model) {
  onnx::ModelProto proto = WithoutLargeTensors(model.proto(), kSmallTensor);
  std::vector<const onnx::TensorProto*> originals;
  ForEachTensorConstant(model.proto().graph(),
                        [&](const onnx::TensorProto& tensor) { originals.push_back(&tensor); });
  size_t next = 0;
  ForEachMutableTensorConstant(proto.mutable_graph(), [&](onnx::TensorProto* copy) {
    const onnx::TensorProto& original = *originals[next++];
    const DType dtype = static_cast<DType>(original.data_type());
    if (!IsSixteenBit(dtype)) {
      if (copy->raw_data().size() != original.raw_data().size()) copy->set_raw_data(original.raw_data());
      return;
    }
    if (!IsExternal(original)) return WidenInside(ReadTensor(model, original), copy);
    ExternalReference reference = ReadReference(original);
    const WeightConversion before =
        reference.conversion.value_or(WeightConversion{dtype, 0, {}, false, dtype});
    // What rewriting has narrowed can't be widened in one step with that; no file holds such a thing.
    if (before.from != dtype) return WidenInside(ReadTensor(model, original), copy);
    reference.length.reset();  // Of the bytes in the file, which are not the tensor's any more.
    reference.conversion = WeightConversion{DType::kFloat, 0, {}, false, dtype};
    WriteReference(reference, copy);
  });
  return proto;
}

/// Numbers the copy's nodes as GraphIndex numbers the original's: a node after those of its bodies.
void NumberNodes(onnx::GraphProto* graph, std::vector<onnx::NodeProto*>* nodes) {
  for (auto& node : *graph->mutable_node()) {
    for (auto& attribute : *node.mutable_attribute()) {
      if (attribute.has_g()) NumberNodes(attribute.mutable_g(), nodes);
    }
    nodes->push_back(&node);
  }
}

/// Takes nodes out of a copy that only hand on one of their inputs.
class NodeRemoval {
 public:
  NodeRemoval(const GraphIndex& index, onnx::GraphProto* graph)
      : index_(index), graphs_(AllGraphs(graph)), same_as_(index.tensors().size()) {
    NumberNodes(graph, &nodes_);
    std::iota(same_as_.begin(), same_as_.end(), 0);
  }

  /// What reads the node's result reads its input `operand` from now on. Where the result is an output of a
  /// graph, or a body has another tensor of the input's name, the node becomes an Identity. To be called in
  /// the order of the nodes.
  void Remove(int id, int operand) {
    const NodeInfo& node = index_.node(id);
    const int output = node.outputs[0];
    const int source = same_as_[static_cast<size_t>(node.inputs[static_cast<size_t>(operand)])];
    if (!index_.tensor(output).graph_output && IsSeenByReaders(output, source)) {
      same_as_[static_cast<size_t>(output)] = source;
      gone_.insert(id);
      return;
    }
    onnx::NodeProto* identity = nodes_[static_cast<size_t>(id)];
    const std::string input = identity->input(operand);
    identity->set_op_type("Identity");
    identity->clear_domain();
    identity->clear_overload();
    identity->clear_attribute();
    identity->clear_input();
    identity->add_input(input);
    identities_[id] = operand;
  }

  void Finish() {
    ConnectReaders();
    FindUnread();
    std::vector<std::set<int>> gone(graphs_.size());  // Per graph, positions among its nodes.
    for (size_t graph = 0; graph < graphs_.size(); ++graph) {
      const std::vector<int>& own = index_.NodesOf(static_cast<int>(graph));
      for (size_t i = 0; i < own.size(); ++i) {
        if (gone_.contains(own[i])) gone[graph].insert(static_cast<int>(i));
      }
    }
    // Taking nodes out moves those behind, and with them their bodies: inner graphs, which have the larger
    // numbers, go first.
    for (size_t graph = graphs_.size(); graph-- > 0;) TakeOut(gone[graph], graphs_[graph]);
    for (size_t id = 0; id < same_as_.size(); ++id) {
      const TensorInfo& info = index_.tensors()[id];
      if (info.kind == TensorKind::kConstant && info.producer < 0 && IsUnread(id))
        TakeOutConstant(info.local, graphs_[static_cast<size_t>(info.graph)]);
    }
  }

 private:
  /// Whether `source` is what its name stands for wherever `output` is read.
  bool IsSeenByReaders(int output, int source) const {
    const TensorInfo& info = index_.tensor(source);
    return std::ranges::all_of(index_.tensor(output).uses, [&](const TensorUse& use) {
      int graph = index_.node(use.node).graph;
      while (graph != info.graph && index_.FindTensor(graph, info.local) < 0)
        graph = index_.graphs()[static_cast<size_t>(graph)].parent_graph;
      return graph == info.graph;
    });
  }

  /// Nodes that only what is gone read go too: bounds of clamps may take a part of the graph to compute.
  void FindUnread() {
    is_read_.assign(same_as_.size(), false);
    for (size_t id = index_.nodes().size(); id-- > 0;) {
      const int number = static_cast<int>(id);
      const NodeInfo& node = index_.nodes()[id];
      const auto unread_or_omitted = [&](int output) {
        return output < 0 || IsUnread(static_cast<size_t>(output));
      };
      const bool omitted = std::ranges::all_of(node.outputs, [](int output) { return output < 0; });
      const bool unread =
          !omitted && node.bodies.empty() && std::ranges::all_of(node.outputs, unread_or_omitted);
      if (unread) gone_.insert(number);
      if (gone_.contains(number)) continue;
      const auto identity = identities_.find(number);
      for (size_t slot = 0; slot < node.inputs.size(); ++slot) {
        const bool read = identity == identities_.end() || identity->second == static_cast<int>(slot);
        if (read && node.inputs[slot] >= 0)
          is_read_[static_cast<size_t>(same_as_[static_cast<size_t>(node.inputs[slot])])] = true;
      }
    }
  }

  /// Whether a tensor that something read is read by nothing any more. To be asked once its readers are
  /// known.
  bool IsUnread(size_t tensor) const {
    const TensorInfo& info = index_.tensors()[tensor];
    return !is_read_[tensor] && !info.uses.empty() && !info.graph_output;
  }

  static void TakeOutConstant(const std::string& name, onnx::GraphProto* graph) {
    const auto named = [&](const auto& entry) { return entry.name() == name; };
    const auto take = [&](auto* entries) {
      entries->erase(std::remove_if(entries->begin(), entries->end(), named), entries->end());
    };
    take(graph->mutable_initializer());
    take(graph->mutable_input());  // Before IR version 4 it is listed there too.
    take(graph->mutable_value_info());
  }

  void ConnectReaders() {
    for (size_t id = 0; id < same_as_.size(); ++id) {
      if (same_as_[id] == static_cast<int>(id)) continue;
      for (const TensorUse& use : index_.tensors()[id].uses) {
        const std::string& name = index_.tensor(same_as_[id]).local;
        const auto identity = identities_.find(use.node);
        if (identity == identities_.end()) {
          nodes_[static_cast<size_t>(use.node)]->set_input(use.slot, name);
        } else if (identity->second == use.slot) {
          nodes_[static_cast<size_t>(use.node)]->set_input(0, name);
        }
      }
    }
  }

  void TakeOut(const std::set<int>& positions, onnx::GraphProto* graph) const {
    if (positions.empty()) return;
    std::unordered_set<std::string> names;
    google::protobuf::RepeatedPtrField<onnx::NodeProto> nodes;
    nodes.Swap(graph->mutable_node());
    for (int i = 0; i < nodes.size(); ++i) {
      if (positions.contains(i)) {
        names.insert(nodes.Get(i).output().begin(), nodes.Get(i).output().end());
      } else {
        graph->add_node()->Swap(nodes.Mutable(i));
      }
    }
    google::protobuf::RepeatedPtrField<onnx::ValueInfoProto> infos;
    infos.Swap(graph->mutable_value_info());
    for (auto& info : infos) {
      if (!names.contains(info.name())) graph->add_value_info()->Swap(&info);
    }
  }

  const GraphIndex& index_;
  std::vector<onnx::GraphProto*> graphs_;
  std::vector<onnx::NodeProto*> nodes_;
  std::vector<int> same_as_;  ///< Per tensor: the one that has its value where its node is gone, or itself.
  std::set<int> gone_;
  std::vector<bool> is_read_;      ///< Per tensor, by nodes that stay.
  std::map<int, int> identities_;  ///< Nodes that became one, and which of their inputs they hand on.
};

/// Whether the node is a Cast, or CastLike, among FP32, FP16 and BF16.
bool IsCastAmongLifted(const GraphIndex& index, const NodeInfo& node) {
  const std::string& op = node.proto->op_type();
  if ((op != "Cast" && op != "CastLike") || !IsStandard(node.proto->domain())) return false;
  if (node.inputs.empty() || node.inputs[0] < 0 || node.outputs.empty() || node.outputs[0] < 0) return false;
  return IsLiftedFloat(index.tensor(node.inputs[0]).dtype) &&
         IsLiftedFloat(index.tensor(node.outputs[0]).dtype);
}

/// Bits that are read as another type are no values that could be widened.
void RefuseBitCasts(const Model& model) {
  const GraphIndex& index = model.index();
  for (const NodeInfo& node : index.nodes()) {
    if (node.proto->op_type() != "BitCast" || !IsStandard(node.proto->domain())) continue;
    for (const auto* tensors : {&node.inputs, &node.outputs}) {
      for (const int tensor : *tensors) {
        if (tensor < 0 || !IsSixteenBit(index.tensor(tensor).dtype)) continue;
        throw BadInput(fmt::format(
            "{}: node {} (BitCast) takes the bits of {} ({}) for another type, so there is no FP32 model "
            "behind this one; export it in FP32",
            model.path().string(), node.name, index.tensor(tensor).name,
            DTypeName(index.tensor(tensor).dtype)));
      }
    }
  }
}

std::vector<DType> SixteenBitOnly(const std::vector<DType>& types) {
  std::vector<DType> result = types;
  std::ranges::replace_if(
      result, [](DType dtype) { return !IsSixteenBit(dtype); }, DType::kFloat);
  return result;
}

}  // namespace

std::optional<LiftedModel> Lift(const Model& model) {
  const auto known_sixteen_bit = [](const auto& known) { return IsSixteenBit(known.second); };
  if (!StatesSixteenBits(model.proto().graph()) &&
      std::ranges::none_of(model.known_types(), known_sixteen_bit))
    return std::nullopt;
  RefuseBitCasts(model);
  const GraphIndex& index = model.index();
  LiftedModel lifted{WithFloatConstants(model), model.known_types()};
  onnx::GraphProto* graph = lifted.proto.mutable_graph();
  std::map<int, int> removed;  // Nodes, and the input that each hands on.
  for (size_t id = 0; id < index.nodes().size(); ++id) {
    if (IsCastAmongLifted(index, index.nodes()[id])) removed[static_cast<int>(id)] = 0;
  }
  if (model.lifts_clamps()) {
    for (const HalfClamp& clamp : FindHalfClamps(model, index)) removed[clamp.node] = clamp.operand;
  }
  NodeRemoval removal(index, graph);
  for (const auto& [node, operand] : removed) removal.Remove(node, operand);
  removal.Finish();
  WidenStatedTypes(graph);
  for (auto& [name, dtype] : lifted.known_types) {
    if (IsSixteenBit(dtype)) dtype = DType::kFloat;
  }
  return lifted;
}

std::vector<DType> StoredInputTypes(const Model& model) {
  const std::vector<InputSpec> inputs = (model.AsStored() != nullptr ? *model.AsStored() : model).Inputs();
  std::vector<DType> types;
  for (const InputSpec& input : inputs)
    types.push_back(model.AsStored() != nullptr ? input.dtype : DType::kFloat);
  return SixteenBitOnly(types);
}

std::vector<DType> StoredOutputTypes(const Model& model) {
  const onnx::GraphProto& graph = (model.AsStored() != nullptr ? *model.AsStored() : model).proto().graph();
  std::vector<DType> types;
  for (const auto& output : graph.output()) {
    const onnx::TypeProto* type = &output.type();
    if (type->has_sequence_type()) type = &type->sequence_type().elem_type();
    DType dtype = static_cast<DType>(type->tensor_type().elem_type());
    // A file need not state it.
    if (model.AsStored() != nullptr && dtype == DType::kUndefined) {
      const GraphIndex& index = model.AsStored()->index();
      dtype = index.tensor(index.FindTensor(0, output.name())).dtype;
    }
    types.push_back(model.AsStored() != nullptr ? dtype : DType::kFloat);
  }
  return SixteenBitOnly(types);
}

}  // namespace halfsafe
