#pragma once

#include <span>
#include <string>
#include <vector>

#include "halfsafe/check.h"
#include "halfsafe/sample.h"
#include "runtime/session.h"

namespace halfsafe {

/// Adds what an engine made of one sample to `errors`: an entry for each of `names`, which `expected` has the
/// FP32 values of and `rules` a rule, if they are not empty. Outputs that stand for a tail which ONNX Runtime
/// lacks have no counterpart in the engine and are left out. Throws Error(kBadInput) where the engine lacks
/// another.
void CompareArrays(std::span<const std::string> names, std::span<const OutputView> expected,
                   std::span<const OutputRule> rules, std::span<const NamedArray> found,
                   const std::string& sample, const Tolerance& tolerance, ModelErrors* errors);

}  // namespace halfsafe
