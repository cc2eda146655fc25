#pragma once

#include <string>
#include <vector>

#include "halfsafe/engine.h"

namespace halfsafe {

/// What MeasureLatencies makes of engines whose model has `nodes`, in graph order. A model's hash and the
/// batch are left to the caller.
MeasuredLatencies GroupLatencies(const std::vector<std::string>& nodes,
                                 const std::vector<EngineBench>& engines);

}  // namespace halfsafe
