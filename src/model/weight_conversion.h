#pragma once

#include <cstddef>
#include <optional>
#include <span>

#include "halfsafe/sample.h"

namespace halfsafe {

/// How the values of a weight are written into a model that is made from its own.
struct WeightConversion {
  DType dtype = DType::kFloat;                 ///< What it becomes: FP32, FP16 or BF16.
  int exponent = 0;                            ///< A value x becomes x * 2^-exponent, rounded once.
  std::optional<double> clamp = std::nullopt;  ///< Finite values are first clamped to ± this.
  bool keep_nonzero = false;   ///< In FP16, what is not zero stays at least the smallest subnormal, 2^-24.
  DType from = DType::kFloat;  ///< What it was: FP32, FP16 or BF16, of which the latter two widen exactly.

  bool operator==(const WeightConversion&) const = default;
};

/// Writes `raw`, little-endian values of the type that the conversion is from, at any address, to `out`,
/// which holds as many of the type that it is to. A finite value never becomes infinite: it stops at the
/// type's largest.
void ConvertWeight(std::span<const std::byte> raw, const WeightConversion& conversion, std::byte* out);

/// Writes raw little-endian values of FP16, BF16 or FP32, at any address, to `values`, each exactly.
void WidenValues(std::span<const std::byte> raw, DType dtype, float* values);

}  // namespace halfsafe
