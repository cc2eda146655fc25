#pragma once

#include "halfsafe/model.h"

namespace halfsafe {

/// Whether ONNX Runtime's CPU provider is known to crash while it loads `model`, for a form that Apply writes
/// otherwise.
bool CrashesRuntime(const Model& model);

}  // namespace halfsafe
