#pragma once

#include <span>
#include <string_view>

#include "plan/context.h"

namespace halfsafe {

/// One reason to keep nodes in FP32.
struct Rule {
  std::string_view name;
  void (*apply)(PlanContext*, std::string_view name);
  std::string_view what;  ///< One sentence for --explain and docs/rules.md.
};

/// All rules, in order of authority: the first that pins a node names the reason.
std::span<const Rule> Rules();

}  // namespace halfsafe
