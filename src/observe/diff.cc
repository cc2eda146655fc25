#include "halfsafe/diff.h"

#include <algorithm>
#include <cmath>

#include "halfsafe/half.h"

namespace halfsafe {
namespace {

ScanIdentity IdentityOf(const RangeTable& ranges) {
  return {ranges.model_sha256, ranges.opset, ranges.samples, ranges.skipped.size()};
}

TensorChange Compare(const TensorStats* before, const TensorStats* after, double threshold) {
  TensorChange change;
  change.name = before != nullptr ? before->name : after->name;
  if (before != nullptr) {
    change.before = *before;
    change.level_before = LevelOf(*before, threshold);
  }
  if (after != nullptr) {
    change.after = *after;
    change.level_after = LevelOf(*after, threshold);
  }
  if (before != nullptr && after != nullptr && before->abs_max > 0.0 && after->abs_max > 0.0)
    change.log2_factor = std::log2(after->abs_max) - std::log2(before->abs_max);
  return change;
}

/// Numbers that grow with the samples alone, as counts do, are no change.
bool Differ(const TensorStats& a, const TensorStats& b) {
  return a.abs_max != b.abs_max || (a.count > 0) != (b.count > 0) || (a.nan_count > 0) != (b.nan_count > 0) ||
         (a.inf_count > 0) != (b.inf_count > 0);
}

}  // namespace

const char* RangeLevelName(RangeLevel level) {
  switch (level) {
    case RangeLevel::kPastThreshold:
      return "past-threshold";
    case RangeLevel::kPastHalf:
      return "past-65504";
    case RangeLevel::kNotFinite:
      return "not-finite";
    default:
      return "within";
  }
}

RangeLevel LevelOf(const TensorStats& stats, double threshold) {
  if (stats.nan_count > 0 || stats.inf_count > 0) return RangeLevel::kNotFinite;
  if (stats.overflow_count > 0 || stats.abs_max > kHalfMax) return RangeLevel::kPastHalf;
  return !stats.constant && stats.abs_max > threshold ? RangeLevel::kPastThreshold : RangeLevel::kWithin;
}

bool TensorChange::Worse() const {
  if (!after) return false;
  const bool new_nan = after->nan_count > 0 && (!before || before->nan_count == 0);
  const bool new_inf = after->inf_count > 0 && (!before || before->inf_count == 0);
  return level_after > level_before || new_nan || new_inf;
}

bool TensorChange::Better() const { return after && level_after < level_before; }

bool RangesDiff::NewOverflow() const {
  return std::any_of(changes.begin(), changes.end(),
                     [](const TensorChange& change) { return change.Worse(); });
}

RangesDiff Diff(const RangeTable& before, const RangeTable& after, const DiffOptions& options) {
  RangesDiff diff;
  diff.before = IdentityOf(before);
  diff.after = IdentityOf(after);
  diff.threshold = options.threshold;
  for (const TensorStats& now : after.tensors) {
    const TensorStats* then = before.Find(now.name);
    if (then != nullptr) ++diff.common;
    if (then == nullptr || Differ(*then, now)) diff.changes.push_back(Compare(then, &now, options.threshold));
  }
  for (const TensorStats& then : before.tensors) {
    if (after.Find(then.name) == nullptr) diff.changes.push_back(Compare(&then, nullptr, options.threshold));
  }
  return diff;
}

}  // namespace halfsafe
