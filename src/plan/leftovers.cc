#include "plan/leftovers.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <string_view>

#include "halfsafe/half.h"
#include "model/graph_index.h"
#include "model/lift.h"
#include "model/op_traits.h"

namespace halfsafe {
namespace {

/// "a, b, c and 4 more".
std::string Names(const std::vector<std::string>& names) {
  constexpr size_t kShown = 3;
  const std::vector<std::string> first(
      names.begin(), names.begin() + static_cast<std::ptrdiff_t>(std::min(kShown, names.size())));
  std::string text = fmt::format("{}", fmt::join(first, ", "));
  if (names.size() > kShown) text += fmt::format(" and {} more", names.size() - kShown);
  return text;
}

bool IsOneOf(const std::string& op, std::initializer_list<std::string_view> ops) {
  return std::ranges::find(ops, op) != ops.end();
}

/// Looks at the constants that the file has in 16 bits.
class Finder {
 public:
  Finder(const Model& lifted, const RangeTable& constants)
      : model_(lifted), index_(lifted.index()), stored_(lifted.AsStored()->index()), constants_(constants) {}

  void Find() {
    for (size_t id = 0; id < index_.tensors().size(); ++id) {
      const TensorInfo& tensor = index_.tensors()[id];
      if (tensor.kind != TensorKind::kConstant || tensor.data == nullptr || !IsFloat(tensor.dtype)) continue;
      const int in_file = stored_.FindTensor(tensor.name);
      const TensorStats* stats = constants_.Find(tensor.name);
      if (in_file < 0 || stats == nullptr || !IsSixteenBit(stored_.tensor(in_file).dtype)) continue;
      if (stats->inf_count > 0 && !IsMask(tensor)) infinite.push_back(tensor.name);
      const bool fp16 = stored_.tensor(in_file).dtype == DType::kFloat16;
      if (fp16 && stats->abs_max == kHalfMax && !IsBound(tensor) && !IsMask(tensor))
        at_limit.push_back(tensor.name);
      const bool zero = stats->count > 0 && stats->abs_max == 0.0 && stats->inf_count + stats->nan_count == 0;
      if (zero && KeepsFromPole(tensor)) zero_epsilons.push_back(tensor.name);
    }
  }

  std::vector<std::string> infinite, at_limit, zero_epsilons;

 private:
  /// Zeros and values that take elements out of a Softmax.
  bool IsMask(const TensorInfo& tensor) const {
    return std::ranges::all_of(ReadFloats(model_, *tensor.data),
                               [](float value) { return value == 0.0f || value <= -kHalfMax; });
  }

  /// Whether all that is done with it is to bound other values, or to stand in their place.
  bool IsBound(const TensorInfo& tensor) const {
    return !tensor.uses.empty() && std::ranges::all_of(tensor.uses, [&](const TensorUse& use) {
      const std::string& op = index_.node(use.node).proto->op_type();
      return (op == "Clip" && use.slot > 0) || IsOneOf(op, {"Min", "Max", "Where", "Neg"});
    });
  }

  /// Whether it is added to, or is the least of, what another node divides by or takes the logarithm of.
  bool KeepsFromPole(const TensorInfo& tensor) const {
    return std::ranges::any_of(tensor.uses, [&](const TensorUse& use) {
      const NodeInfo& node = index_.node(use.node);
      const std::string& op = node.proto->op_type();
      const bool guards = IsOneOf(op, {"Add", "Max"}) || (op == "Clip" && use.slot == 1);
      return guards && !node.outputs.empty() && ReachesPole(node.outputs[0], 0);
    });
  }

  bool ReachesPole(int tensor, int depth) const {
    constexpr int kDeepest = 4;
    if (tensor < 0 || depth > kDeepest) return false;
    return std::ranges::any_of(index_.tensor(tensor).uses, [&](const TensorUse& use) {
      const NodeInfo& node = index_.node(use.node);
      const OpTraits& traits = TraitsOf(*node.proto);
      if (traits.pole == use.slot) return true;
      const bool keeps_zero = IsOneOf(node.proto->op_type(), {"Sqrt", "Pow", "Abs", "Expand"}) ||
                              traits.values == Values::kPermuted;
      return keeps_zero && use.slot == 0 && !node.outputs.empty() && ReachesPole(node.outputs[0], depth + 1);
    });
  }

  const Model& model_;
  const GraphIndex& index_;
  const GraphIndex& stored_;
  const RangeTable& constants_;
};

/// What is said of clamps: those that are there, or those that were left out.
std::string ClampText(const Model& lifted) {
  const bool gone = lifted.lifts_clamps();
  const Model& holds = gone ? *lifted.AsStored() : lifted;
  const GraphIndex& index = holds.index();
  std::vector<std::string> names;
  for (const HalfClamp& clamp : FindHalfClamps(holds, index)) names.push_back(index.node(clamp.node).name);
  if (names.empty()) return "";
  const std::string what =
      fmt::format("{} clamp{} at FP16's limits, as exports to FP16 have them to stay finite: {}",
                  names.size(), names.size() == 1 ? "" : "s", Names(names));
  if (gone) return "left out " + what;
  return what + "; FP32 is cut off there too: --lift-clamps leaves them out";
}

}  // namespace

std::vector<std::string> Leftovers(const Model& lifted, const RangeTable& constants) {
  if (lifted.AsStored() == nullptr) return {};
  Finder finder(lifted, constants);
  finder.Find();
  std::vector<std::string> texts;
  const auto add = [&](const std::vector<std::string>& names, std::string_view what) {
    if (!names.empty()) texts.push_back(fmt::format("{}: {}; export the model in FP32", what, Names(names)));
  };
  add(finder.infinite, "infinite weights, which the export to 16 bits made of numbers past its range");
  add(finder.at_limit, "weights of exactly 65504, where an export to FP16 stops larger ones");
  add(finder.zero_epsilons,
      "constants that keep others from zero and are zero themselves, as epsilons below 3e-8 are in FP16");
  if (std::string clamps = ClampText(lifted); !clamps.empty()) texts.push_back(std::move(clamps));
  return texts;
}

}  // namespace halfsafe
