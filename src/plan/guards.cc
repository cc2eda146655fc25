#include "plan/guards.h"

#include <fmt/format.h>

#include <cmath>

#include "halfsafe/half.h"

namespace halfsafe {
namespace {

/// The operand that a node adds to, or bounds by, the one in `slot`; -1 for other nodes.
int Guarded(const NodeInfo& node, int slot) {
  const std::string& op = node.proto->op_type();
  if (!node.proto->domain().empty() || node.inputs.size() < 2) return -1;
  if (op == "Clip") return slot == 1 ? 0 : -1;
  if ((op != "Add" && op != "Max") || node.inputs.size() != 2) return -1;
  return slot == 0 ? 1 : 0;
}

}  // namespace

void FindGuards(PlanContext* context) {
  for (size_t id = 0; id < context->index.tensors().size(); ++id) {
    const int constant = static_cast<int>(id);
    const TensorInfo& info = context->index.tensor(constant);
    const TensorStats* stats = info.kind == TensorKind::kConstant ? context->Stats(constant) : nullptr;
    if (stats == nullptr || stats->count == 0 || stats->min <= 0.0) continue;
    std::string evidence;
    for (size_t reader = 0; reader < info.uses.size(); ++reader) {
      const TensorUse& use = info.uses[reader];
      const int exponent = context->ReadExponent(constant, reader);
      const NodeInfo& node = context->index.node(use.node);
      const int other = Guarded(node, use.slot);
      const TensorStats* guarded =
          other < 0 ? nullptr : context->Stats(node.inputs[static_cast<size_t>(other)]);
      if (guarded == nullptr || std::ldexp(stats->abs_max, -exponent) >= kHalfMinSubnormal / 2) continue;
      const double smallest = std::ldexp(
          guarded->min, -context->read_exponents[static_cast<size_t>(use.node)][static_cast<size_t>(other)]);
      const bool sound = guarded->count > 0 && guarded->nan_count == 0 && guarded->inf_count == 0;
      if (!sound || smallest < kHalfMinNormal) continue;
      context->guards.insert({constant, use.node});
      evidence = fmt::format("{:.3g}, which FP16 makes zero; {} is at least {:.3g} there",
                             std::ldexp(stats->abs_max, -exponent), guarded->name, smallest);
    }
    if (!evidence.empty()) context->constants.push_back({stats->name, std::nullopt, true, "guard", evidence});
  }
}

}  // namespace halfsafe
