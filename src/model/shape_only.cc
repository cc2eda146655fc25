#include "model/shape_only.h"

#include <algorithm>

#include "model/walk.h"

namespace halfsafe {

bool ReadsShapeAlone(const NodeInfo& node) {
  const onnx::NodeProto& proto = *node.proto;
  const std::string& op = proto.op_type();
  return IsStandard(proto.domain()) &&
         (op == "Shape" || op == "Size" || op == "RandomNormalLike" || op == "RandomUniformLike");
}

std::vector<bool> ReadForShapeAlone(const GraphIndex& index) {
  std::vector<bool> alone(index.tensors().size(), false);
  const auto looks_at_no_value = [&](const TensorUse& use) {
    const NodeInfo& reader = index.node(use.node);
    return ReadsShapeAlone(reader) ||
           (reader.bodies.empty() &&
            std::all_of(reader.outputs.begin(), reader.outputs.end(),
                        [&](int output) { return output < 0 || alone[static_cast<size_t>(output)]; }));
  };
  const auto judge = [&](int id) {
    if (id < 0 || index.tensor(id).graph_output) return;
    const auto& uses = index.tensor(id).uses;
    alone[static_cast<size_t>(id)] = std::all_of(uses.begin(), uses.end(), looks_at_no_value);
  };
  for (auto node = index.nodes().rbegin(); node != index.nodes().rend(); ++node)
    std::for_each(node->outputs.begin(), node->outputs.end(), judge);
  for (size_t id = 0; id < alone.size(); ++id) {
    if (index.tensors()[id].kind == TensorKind::kBodyInput) judge(static_cast<int>(id));
  }
  return alone;
}

}  // namespace halfsafe
