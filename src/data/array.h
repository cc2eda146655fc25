#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "halfsafe/sample.h"

namespace halfsafe {

/// "[1, 3, 224]", with "?" for a free dimension (-1).
std::string ShapeText(std::span<const int64_t> shape);

/// Bytes that an array of this dtype and shape takes. Throws BadInput that begins with `where` when a
/// dimension is negative, when there are too many, or when the product overflows (zeros don't hide an
/// overflow).
size_t ArrayBytes(DType dtype, std::span<const int64_t> shape, std::string_view where);

/// The strings in the bytes of an array of them.
std::vector<std::string_view> StringsOf(std::span<const std::byte> bytes);
/// Adds a string to such bytes.
void AppendString(std::string_view text, std::vector<std::byte>* bytes);

/// Throws BadInput for a sequence, before it is written in a format that has none.
void RequireNumpyForm(const NamedArray& value);

/// The dtypes that samples can have, for error messages.
inline constexpr std::string_view kSampleDTypes =
    "bool, int8 to int64, uint8 to uint64, float16, bfloat16, float32 or float64 (ONNX test data: also "
    "string, and floats and integers of 2, 4 and 8 bits)";

}  // namespace halfsafe
