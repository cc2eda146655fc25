#pragma once

#include <cstddef>
#include <optional>
#include <span>

#include "halfsafe/sample.h"

namespace halfsafe {

/// How the values of an FP32 weight are written into a rewritten model.
struct WeightConversion {
  DType dtype = DType::kFloat;                 ///< FP32, FP16 or BF16.
  int exponent = 0;                            ///< A value x becomes x * 2^-exponent, rounded once.
  std::optional<double> clamp = std::nullopt;  ///< Finite values are first clamped to ± this.
  bool keep_nonzero = false;  ///< In FP16, what is not zero stays at least the smallest subnormal, 2^-24.
};

/// Writes `floats`, raw little-endian FP32 values at any address, to `out`, which holds as many values of the
/// conversion's type. A finite value never becomes infinite: it stops at the type's largest.
void ConvertWeight(std::span<const std::byte> floats, const WeightConversion& conversion, std::byte* out);

}  // namespace halfsafe
