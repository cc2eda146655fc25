#pragma once

#include <optional>

#include "halfsafe/check.h"

namespace halfsafe {

/// Loads `fixed` with ONNX Runtime's CPU provider, at its default options, and runs it once on the first
/// sample, in a process of its own: halfsafe-load, which lies beside the library or the program. A model with
/// inputs that are sequences, strings or packed is only loaded. `samples` are those of a lifted model.
/// Nothing is returned where that isn't tried: without the program, past 2 GB of model, when memory is short
/// (CheckOptions::low_memory), and when the program takes more than two minutes.
std::optional<CpuResult> RunOnCpu(const Model& fixed, const SampleSource& samples,
                                  const CheckOptions& options);

}  // namespace halfsafe
