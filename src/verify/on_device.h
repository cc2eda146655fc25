#pragma once

#include "halfsafe/check.h"

namespace halfsafe {

/// Runs `fixed`, and plain FP16 where `options` want it, on ONNX Runtime's provider of `options`, and fills
/// `result->device`: how their outputs differ from the same reference as the emulation's.
void CheckOnDevice(const Model& original, const Model& fixed, const SampleSource& samples,
                   const CheckOptions& options, Progress* progress, CheckResult* result);

}  // namespace halfsafe
