#include "observe/observed_model.h"

#include <optional>

#include "model/op_traits.h"
#include "model/walk.h"
#include "observe/chains.h"

namespace halfsafe {
namespace {

/// The rows of the Softmax operators that read a tensor; nothing where there are none, or they run along
/// different axes.
std::optional<RowAxis> RowsOf(const GraphIndex& index, const Model& model, const TensorInfo& tensor) {
  std::optional<RowAxis> rows;
  const bool old = OpsetVersion(model.proto(), "") < 13;
  for (const TensorUse& use : tensor.uses) {
    const onnx::NodeProto& node = *index.node(use.node).proto;
    if (node.op_type() != "Softmax" || !node.domain().empty()) continue;
    const int64_t axis = IntAttribute(node, "axis", old ? 1 : -1);
    if (rows && rows->axis != axis) return std::nullopt;
    rows = RowAxis{axis, old};
  }
  return rows;
}

}  // namespace

Slots ChooseSlots(const GraphIndex& index, const Model& model, Observer* observer) {
  Slots slots;
  slots.slot.assign(index.tensors().size(), -1);
  slots.same_as.assign(index.tensors().size(), -1);
  slots.by_rows.assign(index.tensors().size(), false);
  for (size_t id = 0; id < index.tensors().size(); ++id) {
    const TensorInfo& tensor = index.tensors()[id];
    if (!tensor.is_tensor || !IsFloat(tensor.dtype) || tensor.kind == TensorKind::kConstant) continue;
    if (tensor.producer >= 0) {
      const NodeInfo& node = index.node(tensor.producer);
      const int source = node.inputs.empty() ? -1 : node.inputs[0];
      // Only within one graph: a body may run any number of times on the same outer tensor.
      if (TraitsOf(*node.proto).values == Values::kPermuted && source >= 0 &&
          index.tensor(source).graph == tensor.graph && index.tensor(source).kind != TensorKind::kConstant &&
          tensor.producer_slot == 0 && !RowsOf(index, model, tensor)) {
        slots.same_as[id] = source;
        continue;
      }
    }
    const std::optional<RowAxis> rows = RowsOf(index, model, tensor);
    slots.slot[id] = observer->AddSlot(rows);
    slots.by_rows[id] = rows.has_value();
  }
  return slots;
}

SessionModel ObservedModel(const Model& model, const GraphIndex& index, const Slots& slots, bool chains,
                           Feed feed, const std::function<bool(const std::string&)>& saved) {
  WeightOptions weights;
  weights.feed = feed;
  SessionModel session = MakeSessionModel(model, weights);
  DeclareBodyShapes(index, &session.proto);
  std::vector<bool> in_chain(index.tensors().size(), false);
  if (chains) {
    ChainNeeds needs;
    needs.id_of = [&](int id) {
      return slots.by_rows[static_cast<size_t>(id)] ? -1 : slots.slot[static_cast<size_t>(id)];
    };
    needs.is_needed = [&](int id) {
      return slots.by_rows[static_cast<size_t>(id)] || saved(index.tensor(id).name);
    };
    in_chain = InsertChains(model, index, needs, &session);
  }
  InsertTaps(
      index, &session,
      [&](int tensor) {
        const size_t number = static_cast<size_t>(tensor);
        return in_chain[number] ? -1 : slots.slot[number];
      },
      [&](int tensor) { return index.tensor(tensor).dtype; });
  return session;
}

}  // namespace halfsafe
