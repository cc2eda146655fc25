#include "plan/masks.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <map>
#include <set>
#include <utility>
#include <vector>

#include "halfsafe/half.h"
#include "model/op_traits.h"

namespace halfsafe {
namespace {

/// What masks are clamped to, so that adding a score within +-kLargestScore stays in range.
constexpr double kClamp = 32768.0;
/// The same where two masks are added to one another.
constexpr double kClampOfSums = kClamp / 2.0;
constexpr double kLargestScore = 16384.0;
/// exp(-x) is zero in FP32 from about 104 on.
constexpr double kGone = 128.0;

/// Zeros and values of -32768 or below: what a mask, or several combined, can be.
bool LooksLikeMask(const TensorStats* stats) {
  return stats != nullptr && stats->count > 0 && stats->nan_count == 0 && stats->max <= 0.0 &&
         std::ranges::all_of(stats->exponents, [](const auto& entry) { return entry.first >= 15; });
}

/// Follows one mask to the Softmax operators that it masks.
class MaskWalk {
 public:
  MaskWalk(const PlanContext& context, double clamp) : context_(context), clamp_(clamp) {}

  /// Whether every path from the mask tensor ends as it must; `touched` collects the tensors on the way.
  bool FollowMask(int tensor) {
    touched.push_back(tensor);
    const TensorInfo& info = context_.index.tensor(tensor);
    if (info.graph_output || info.uses.empty() || touched.size() > kMost) return false;
    return std::all_of(info.uses.begin(), info.uses.end(),
                       [&](const TensorUse& use) { return FollowMaskUse(tensor, use); });
  }

  std::vector<int> touched;
  std::vector<int> partners;  ///< Masks that this one is combined with: they have to be clamped too.
  bool added = false;         ///< To another mask.
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
    const bool passes = values == Values::kPermuted || op == "Expand" || op == "Slice" || op == "Gather" ||
                        op == "Tile" || op == "Trilu";
    if (passes) return use.slot == 0 && FollowMask(output);
    if (op == "Cast") return context_.index.tensor(output).dtype == DType::kFloat && FollowMask(output);
    if (op == "Mul") return ZerosAndOnes(Other(node, tensor)) && FollowMask(output);
    if (op == "Where") return use.slot != 0 && FollowWhere(node.inputs[use.slot == 1 ? 2 : 1], output);
    return op == "Add" && FollowAdd(Other(node, tensor), output);
  }

  /// A Where picks the mask in place of zeros, of another mask, or of scores.
  bool FollowWhere(int other, int output) {
    const TensorStats* stats = context_.Stats(other);
    if (stats != nullptr && stats->count > 0 && stats->abs_max == 0.0) return FollowMask(output);
    if (!LooksLikeMask(stats)) return FollowScores(other, output);
    partners.push_back(other);
    return FollowMask(output);
  }

  bool FollowAdd(int other, int output) {
    if (!LooksLikeMask(context_.Stats(other))) return FollowScores(other, output);
    return WithPartner(other, [&] { return FollowMask(output); });
  }

  /// Goes on behind the sum with another mask, which may have masked nothing in the samples. No more than two
  /// may meet: the sum of more would pass FP16's range.
  bool WithPartner(int other, const std::function<bool()>& follow) {
    if (met_) return false;
    if (context_.Stats(other)->abs_max > 0.0) partners.push_back(other);
    added = met_ = true;
    const bool follows = follow();
    met_ = false;
    return follows;
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

  /// `masked` is scores with the mask in them: it may only reach Softmax. The scores may have another mask in
  /// them already.
  bool FollowScores(int scores, int masked) {
    const auto [other, bare] = TakenApart(scores);
    const TensorStats* stats = context_.Stats(bare);
    if (stats == nullptr || stats->nan_count > 0 || stats->inf_count > 0 || stats->abs_max > kLargestScore)
      return false;
    const auto follow = [&] { return ReachesSoftmaxOnly(masked, stats->max); };
    return other < 0 ? follow() : WithPartner(other, follow);
  }

  /// The mask that was added to scores, and these without it; -1 and themselves where none was.
  std::pair<int, int> TakenApart(int scores) const {
    const int producer = context_.index.tensor(scores).producer;
    const NodeInfo* node = producer < 0 ? nullptr : &context_.index.node(producer);
    if (node != nullptr && node->schema != nullptr && node->proto->op_type() == "Add") {
      for (const size_t slot : {0, 1}) {
        if (LooksLikeMask(context_.Stats(node->inputs[slot])) &&
            context_.Stats(node->inputs[slot])->abs_max > 0.0)
          return {node->inputs[slot], node->inputs[1 - slot]};
      }
    }
    return {-1, scores};
  }

  bool ReachesSoftmaxOnly(int tensor, double largest_score) {
    touched.push_back(tensor);
    const TensorInfo& info = context_.index.tensor(tensor);
    if (info.graph_output || info.uses.empty() || touched.size() > kMost) return false;
    return std::ranges::all_of(
        info.uses, [&](const TensorUse& use) { return ReachesSoftmax(tensor, use, largest_score); });
  }

  bool ReachesSoftmax(int tensor, const TensorUse& use, double largest_score) {
    const NodeInfo& node = context_.index.node(use.node);
    if (node.schema == nullptr || node.outputs.empty() || node.outputs[0] < 0) return false;
    const auto follow = [&] { return ReachesSoftmaxOnly(node.outputs[0], largest_score); };
    if (TraitsOf(*node.proto).values == Values::kPermuted && use.slot == 0) return follow();
    if (node.proto->op_type() == "Add" && LooksLikeMask(context_.Stats(Other(node, tensor))))
      return WithPartner(Other(node, tensor), follow);
    const TensorStats* stats = context_.Stats(tensor);
    if (node.proto->op_type() != "Softmax" || stats == nullptr || !stats->row_max_min) return false;
    if (*stats->row_max_min < std::max(largest_score, 0.0) - clamp_ + kGone) return false;
    evidence = fmt::format("scores up to {:.4g}, smallest row maximum {:.4g} at {}", largest_score,
                           *stats->row_max_min, node.name);
    return true;
  }

  const PlanContext& context_;
  const double clamp_;
  bool met_ = false;  ///< Another mask, on the path that is followed.
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

/// Whether a tensor may be where a mask comes from: a constant, a ConstantOfShape, or an input of the model.
bool IsMaskSource(const PlanContext& context, int id) {
  const TensorInfo& tensor = context.index.tensor(id);
  const TensorStats* stats = context.Stats(id);
  if (stats == nullptr || tensor.dtype != DType::kFloat || stats->min > -kHalfMax) return false;
  if (tensor.kind == TensorKind::kConstant) return IsMaskConstant(context, tensor, *stats);
  const bool filled =
      tensor.producer >= 0 && context.index.node(tensor.producer).proto->op_type() == "ConstantOfShape";
  return (filled || tensor.kind == TensorKind::kInput) && stats->inf_count == 0 && LooksLikeMask(stats);
}

/// The walks of all sources whose masks may be clamped: a mask that is combined with another one may be if
/// that one may.
std::map<int, MaskWalk> Walks(const PlanContext& context, double clamp) {
  std::map<int, MaskWalk> walks;
  for (int id = 0; id < static_cast<int>(context.index.tensors().size()); ++id) {
    if (!IsMaskSource(context, id)) continue;
    MaskWalk walk(context, clamp);
    if (walk.FollowMask(id)) walks.emplace(id, std::move(walk));
  }
  for (bool changed = true; changed;) {
    std::set<int> clamped;
    for (const auto& [id, walk] : walks) clamped.insert(walk.touched.begin(), walk.touched.end());
    const size_t before = walks.size();
    std::erase_if(walks, [&](const auto& entry) {
      return !std::ranges::all_of(entry.second.partners, [&](int other) { return clamped.contains(other); });
    });
    changed = walks.size() != before;
  }
  return walks;
}

}  // namespace

void FindMasks(PlanContext* context) {
  double clamp = kClamp;
  std::map<int, MaskWalk> walks = Walks(*context, clamp);
  if (std::ranges::any_of(walks, [](const auto& entry) { return entry.second.added; })) {
    clamp = kClampOfSums;
    walks = Walks(*context, clamp);
  }
  for (const auto& [id, walk] : walks) {
    for (const int touched : walk.touched) context->mask_fits[static_cast<size_t>(touched)] = true;
    const TensorStats& stats = *context->Stats(id);
    const bool given = context->index.tensor(id).kind == TensorKind::kInput;
    context->constants.push_back({stats.name, clamp, false, "mask",
                                  fmt::format("{:.4g} becomes {}: {}{}", stats.min, -clamp, walk.evidence,
                                              given ? "; so it was in the samples" : "")});
  }
}

}  // namespace halfsafe
