#include <algorithm>
#include <cmath>

#include "model/graph_index.h"
#include "model/lift.h"
#include "model/walk.h"

namespace halfsafe {
namespace {

/// Whether it is a bound that such exporters write: finfo(float16).max, or that minus 1000, which is 64512
/// where it is stored in FP16.
bool IsHalfBound(float value) {
  const float size = std::fabs(value);
  return size == 65504.0f || size == 64504.0f || size == 64512.0f;
}

/// Follows a bound to the constants that it is made of.
class Bound {
 public:
  Bound(const Model& model, const GraphIndex& index) : model_(model), index_(index) {}

  /// Whether all that the tensor can be is such a bound. Exporters choose between the two by whether there
  /// are infinities, and negate what they chose for the lower one.
  bool Is(int tensor, int depth = 0) const {
    constexpr int kDeepest = 8;
    if (tensor < 0 || depth > kDeepest) return false;
    const TensorInfo& info = index_.tensor(tensor);
    if (info.kind == TensorKind::kConstant) return IsConstant(info);
    if (info.producer < 0) return false;
    const NodeInfo& node = index_.node(info.producer);
    if (!IsStandard(node.proto->domain()) || node.inputs.empty()) return false;
    const std::string& op = node.proto->op_type();
    if (op == "Where" && node.inputs.size() == 3)
      return Is(node.inputs[1], depth + 1) && Is(node.inputs[2], depth + 1);
    static constexpr std::string_view kPasses[] = {"Neg",     "Cast",      "Identity", "Expand",
                                                   "Reshape", "Unsqueeze", "Squeeze"};
    return std::ranges::find(kPasses, op) != std::end(kPasses) && Is(node.inputs[0], depth + 1);
  }

 private:
  bool IsConstant(const TensorInfo& info) const {
    constexpr uint64_t kFew = 16;
    if (info.data == nullptr) {
      const auto* value = FindAttribute(*index_.node(info.producer).proto, "value_float");
      return value != nullptr && IsHalfBound(value->f());
    }
    if (!IsFloat(info.dtype) || TensorElementCount(*info.data) > kFew) return false;
    const std::vector<float> values = ReadFloats(model_, *info.data);
    return !values.empty() && std::ranges::all_of(values, IsHalfBound);
  }

  const Model& model_;
  const GraphIndex& index_;
};

/// Before opset 11 bounds are attributes.
bool ClipsByAttributes(const onnx::NodeProto& node) {
  const auto* min = FindAttribute(node, "min");
  const auto* max = FindAttribute(node, "max");
  return (min != nullptr || max != nullptr) && (min == nullptr || IsHalfBound(min->f())) &&
         (max == nullptr || IsHalfBound(max->f()));
}

bool ClipsByInputs(const NodeInfo& node, const Bound& bound) {
  bool any = false;
  for (size_t slot = 1; slot < node.inputs.size(); ++slot) {
    if (node.inputs[slot] < 0) continue;
    if (!bound.Is(node.inputs[slot])) return false;
    any = true;
  }
  return any;
}

/// The operand that the node clamps; -1 where it is no such clamp.
int Clamped(const NodeInfo& node, const Bound& bound) {
  if (!IsStandard(node.proto->domain()) || node.inputs.empty() || node.inputs[0] < 0) return -1;
  const std::string& op = node.proto->op_type();
  if (op == "Clip") return ClipsByAttributes(*node.proto) || ClipsByInputs(node, bound) ? 0 : -1;
  if ((op != "Min" && op != "Max") || node.inputs.size() != 2) return -1;
  const bool first = bound.Is(node.inputs[0]), second = bound.Is(node.inputs[1]);
  return first == second ? -1 : first ? 1 : 0;
}

}  // namespace

std::vector<HalfClamp> FindHalfClamps(const Model& model, const GraphIndex& index) {
  const Bound bound(model, index);
  std::vector<HalfClamp> clamps;
  for (size_t id = 0; id < index.nodes().size(); ++id) {
    const int operand = Clamped(index.nodes()[id], bound);
    if (operand >= 0) clamps.push_back({static_cast<int>(id), operand});
  }
  return clamps;
}

}  // namespace halfsafe
