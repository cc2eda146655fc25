#include "plan/masks.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "halfsafe/half.h"
#include "model/op_traits.h"

namespace halfsafe {
namespace {

constexpr double kLargestScore = 16384.0;
/// exp(-x) is zero in FP32 from about 104 on.
constexpr double kGone = 128.0;

/// Follows one constant to the Softmax operators it masks.
class MaskWalk {
 public:
  explicit MaskWalk(const PlanContext& context) : context_(context) {}

  /// Whether every path from the mask tensor ends as it must; `touched` collects the tensors on the way.
  bool FollowMask(int tensor) {
    touched.push_back(tensor);
    const TensorInfo& info = context_.index.tensor(tensor);
    if (info.graph_output || info.uses.empty() || touched.size() > kMost) return false;
    return std::all_of(info.uses.begin(), info.uses.end(),
                       [&](const TensorUse& use) { return FollowMaskUse(tensor, use); });
  }

  std::vector<int> touched;
  std::string evidence;

 private:
  static constexpr size_t kMost = 4096;

  bool FollowMaskUse(int tensor, const TensorUse& use) {
    const NodeInfo& node = context_.index.node(use.node);
    const std::string& op = node.proto->op_type();
    if (node.schema == nullptr || !node.proto->domain().empty() || node.outputs.empty() ||
        node.outputs[0] < 0)
      return false;
    const int output = node.outputs[0];
    const Values values = TraitsOf(*node.proto).values;
    const bool passes =
        values == Values::kPermuted || op == "Expand" || op == "Slice" || op == "Gather" || op == "Tile";
    if (passes) return use.slot == 0 && FollowMask(output);
    if (op == "Cast") return context_.index.tensor(output).dtype == DType::kFloat && FollowMask(output);
    if (op == "Mul") return ZerosAndOnes(Other(node, tensor)) && FollowMask(output);
    if (op == "Where") {
      const int other = node.inputs[use.slot == 1 ? 2 : 1];
      const TensorStats* stats = use.slot == 0 ? nullptr : context_.Stats(other);
      if (stats != nullptr && stats->count > 0 && stats->abs_max == 0.0) return FollowMask(output);
      return use.slot != 0 && FollowScores(other, output);
    }
    return op == "Add" && FollowScores(Other(node, tensor), output);
  }

  static int Other(const NodeInfo& node, int tensor) {
    return node.inputs[0] == tensor ? node.inputs[1] : node.inputs[0];
  }

  bool ZerosAndOnes(int tensor) const {
    const TensorStats* stats = context_.Stats(tensor);
    return stats != nullptr && stats->nan_count == 0 && stats->inf_count == 0 && stats->min >= 0.0 &&
           stats->max <= 1.0 &&
           (stats->exponents.empty() ||
            (stats->exponents.size() == 1 && stats->exponents.begin()->first == 0));
  }

  /// `masked` is scores with the mask in them: it may only reach Softmax.
  bool FollowScores(int scores, int masked) {
    const TensorStats* stats = context_.Stats(scores);
    if (stats == nullptr || stats->nan_count > 0 || stats->inf_count > 0 || stats->abs_max > kLargestScore)
      return false;
    return ReachesSoftmaxOnly(masked, stats->max);
  }

  bool ReachesSoftmaxOnly(int tensor, double largest_score) {
    touched.push_back(tensor);
    const TensorInfo& info = context_.index.tensor(tensor);
    if (info.graph_output || info.uses.empty() || touched.size() > kMost) return false;
    for (const TensorUse& use : info.uses) {
      const NodeInfo& node = context_.index.node(use.node);
      if (node.schema == nullptr || node.outputs.empty() || node.outputs[0] < 0) return false;
      if (TraitsOf(*node.proto).values == Values::kPermuted && use.slot == 0) {
        if (!ReachesSoftmaxOnly(node.outputs[0], largest_score)) return false;
        continue;
      }
      const TensorStats* stats = context_.Stats(tensor);
      if (node.proto->op_type() != "Softmax" || stats == nullptr || !stats->row_max_min) return false;
      if (*stats->row_max_min < largest_score - kMaskClamp + kGone) return false;
      evidence = fmt::format("scores up to {:.4g}, smallest row maximum {:.4g} at {}", largest_score,
                             *stats->row_max_min, node.name);
    }
    return true;
  }

  const PlanContext& context_;
};

/// Zeros and values of -65504 or below, and at least one of the latter. Exporters write the lowest number of
/// the type that they export in.
bool IsMaskConstant(const PlanContext& context, const TensorInfo& tensor, const TensorStats& stats) {
  if (tensor.data == nullptr || tensor.dtype != DType::kFloat || stats.min > -kHalfMax || stats.max > 0.0)
    return false;
  if (stats.nan_count > 0 || stats.inf_count > 0) return false;
  const std::vector<float> values = ReadFloats(context.model, *tensor.data);
  return std::all_of(values.begin(), values.end(),
                     [](float value) { return value == 0.0f || value <= -kHalfMax; });
}

}  // namespace

void FindMasks(PlanContext* context) {
  for (size_t id = 0; id < context->index.tensors().size(); ++id) {
    const TensorInfo& tensor = context->index.tensors()[id];
    if (tensor.kind != TensorKind::kConstant) continue;
    const TensorStats* stats = context->Stats(static_cast<int>(id));
    if (stats == nullptr || !IsMaskConstant(*context, tensor, *stats)) continue;
    MaskWalk walk(*context);
    if (!walk.FollowMask(static_cast<int>(id))) continue;
    for (const int touched : walk.touched) context->mask_fits[static_cast<size_t>(touched)] = true;
    context->constants.push_back({tensor.name, kMaskClamp, false, "mask",
                                  fmt::format("{:.4g} becomes -32768: {}", stats->min, walk.evidence)});
  }
}

}  // namespace halfsafe
