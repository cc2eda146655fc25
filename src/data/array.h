#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "halfsafe/sample.h"

namespace halfsafe {

/// "[1, 3, 224]", with "?" for a free dimension (-1).
std::string ShapeText(std::span<const int64_t> shape);

/// Bytes that an array of this dtype and shape takes. Throws BadInput that begins with `where` when a
/// dimension is negative, when there are too many, or when the product overflows (zeros don't hide an
/// overflow).
size_t ArrayBytes(DType dtype, std::span<const int64_t> shape, std::string_view where);

/// The dtypes that samples can have, for error messages.
inline constexpr std::string_view kSampleDTypes =
    "bool, int8 to int64, uint8 to uint64, float16, bfloat16, float32 or float64";

}  // namespace halfsafe
