#pragma once

#include <span>
#include <string_view>

#include "plan/context.h"

namespace halfsafe {

/// One reason to keep nodes in FP32.
struct Rule {
  std::string_view name;
  void (*apply)(PlanContext*, std::string_view name);
  bool range;             ///< Whether it is about FP16's range alone, which BF16 doesn't share.
  std::string_view what;  ///< One sentence for --explain and docs/rules.md.
};

/// Why a node has no form in this 16-bit type; empty where it has one, and where it has no FP32 tensors.
std::string WhyNoHalfType(const GraphIndex& index, const PrecisionPorts& ports, int node, Precision half);

/// All rules, in order of authority: the first that pins a node names the reason.
std::span<const Rule> Rules();

}  // namespace halfsafe
