#pragma once

#include "halfsafe/check.h"
#include "runtime/session.h"

namespace halfsafe {

/// Adds one sample's output to `error`, and returns what it added. Floats of any type are compared by value,
/// all other types for equality.
SampleError CompareOutput(const OutputView& reference, const OutputView& output, const std::string& sample,
                          const Tolerance& tolerance, OutputError* error);

}  // namespace halfsafe
