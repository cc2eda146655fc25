#pragma once

#include <string_view>

#include "halfsafe/sample.h"

namespace halfsafe {

/// The array as `dtype`, where an engine wants another type than the model: INT64 as INT32 (TensorRT before
/// 10 has no INT64), FP64 as FP32, and between FP32, FP16 and BF16, rounded to nearest. Throws
/// Error(kBadInput) that begins with `where` for other pairs and for integers that don't fit.
Array ConvertArray(const Array& array, DType dtype, std::string_view where);

}  // namespace halfsafe
