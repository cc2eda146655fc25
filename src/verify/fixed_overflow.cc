#include <algorithm>

#include "halfsafe/check.h"
#include "verify/finite_before.h"

namespace halfsafe {
bool AnyNotFinite(const RangeTable& ranges) {
  return std::any_of(ranges.tensors.begin(), ranges.tensors.end(),
                     [](const TensorStats& stats) { return stats.inf_count + stats.nan_count > 0; });
}

std::vector<TensorStats> OverflowOfFixed(const RangeTable& fixed, const RangeTable* original,
                                         double threshold) {
  std::vector<TensorStats> overflow;
  for (const TensorStats& stats : fixed.tensors) {
    if (stats.dtype != DType::kFloat16) continue;
    const bool new_inf = stats.inf_count > 0 && FiniteBefore(original, stats.name, false);
    const bool new_nan = stats.nan_count > 0 && FiniteBefore(original, stats.name, true);
    // Constants don't change with the samples: what FP16 holds of them, it holds.
    if (new_inf || new_nan || (!stats.constant && stats.abs_max > threshold)) overflow.push_back(stats);
  }
  return overflow;
}

}  // namespace halfsafe
