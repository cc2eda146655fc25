#pragma once

#include <string>

#include "halfsafe/ranges.h"

namespace halfsafe {

/// Whether FP32 shows no infinity (with `nan`: no NaN) in a tensor that the fixed model has under its own
/// name or, beside other forms of it, under one made from it. What `original` doesn't have, or without it
/// (nullptr), counts as finite.
bool FiniteBefore(const RangeTable* original, const std::string& name, bool nan);

}  // namespace halfsafe
