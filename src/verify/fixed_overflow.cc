#include <algorithm>

#include "halfsafe/check.h"
#include "halfsafe/rewrite.h"

namespace halfsafe {
namespace {

/// What FP32 shows of a tensor that the fixed model has under its own name or, beside others of it, under one
/// made from it.
const TensorStats* FindOriginal(const RangeTable* original, const std::string& name) {
  if (original == nullptr) return nullptr;
  const TensorStats* stats = original->Find(name);
  return stats != nullptr ? stats : original->Find(OriginalName(name));
}

}  // namespace

bool AnyNotFinite(const RangeTable& ranges) {
  return std::any_of(ranges.tensors.begin(), ranges.tensors.end(),
                     [](const TensorStats& stats) { return stats.inf_count + stats.nan_count > 0; });
}

std::vector<TensorStats> OverflowOfFixed(const RangeTable& fixed, const RangeTable* original,
                                         double threshold) {
  std::vector<TensorStats> overflow;
  for (const TensorStats& stats : fixed.tensors) {
    if (stats.dtype != DType::kFloat16) continue;
    const TensorStats* before = FindOriginal(original, stats.name);
    const bool new_inf = stats.inf_count > 0 && (before == nullptr || before->inf_count == 0);
    const bool new_nan = stats.nan_count > 0 && (before == nullptr || before->nan_count == 0);
    // Constants don't change with the samples: what FP16 holds of them, it holds.
    if (new_inf || new_nan || (!stats.constant && stats.abs_max > threshold)) overflow.push_back(stats);
  }
  return overflow;
}

}  // namespace halfsafe
