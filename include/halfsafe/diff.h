#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "halfsafe/ranges.h"

namespace halfsafe {

/// How far a tensor's values go, as FP16 sees it; each is worse than those before it.
enum class RangeLevel {
  kWithin,
  kPastThreshold,  ///< Never for constants, which don't change with the samples.
  kPastHalf,       ///< Past 65504.
  kNotFinite,      ///< Infinite or NaN in FP32 already.
};

/// "within", "past-threshold", "past-65504" or "not-finite".
const char* RangeLevelName(RangeLevel level);
/// The worst level that a tensor's values reach.
RangeLevel LevelOf(const TensorStats& stats, double threshold);

/// A tensor that two scans saw differently, or that one of them doesn't have.
struct TensorChange {
  std::string name;                               ///< As in both scans.
  std::optional<TensorStats> before;              ///< In the earlier scan; nothing where it lacks the tensor.
  std::optional<TensorStats> after;               ///< In the later scan, likewise.
  RangeLevel level_before = RangeLevel::kWithin;  ///< Also where there is no such tensor, as is the next.
  RangeLevel level_after = RangeLevel::kWithin;   ///< In the later scan.
  /// Logarithm to base 2 of how many times larger the largest |x| became; nothing where either is 0 or
  /// unknown.
  std::optional<double> log2_factor;

  /// Past a limit that it was within before, or NaN or infinite where it was not. A new tensor was within
  /// all.
  bool Worse() const;
  /// Within a limit that it was past before. A tensor that is gone is not.
  bool Better() const;
};

/// One of the scans.
struct ScanIdentity {
  std::string model_sha256;  ///< Of the model's file.
  std::optional<int> opset;  ///< That the model was raised to.
  uint64_t samples = 0;      ///< That were counted.
  uint64_t skipped = 0;      ///< That were left out as bad.
};

/// What changed from one scan to another: the model may be another checkpoint, the samples others.
struct RangesDiff {
  ScanIdentity before;         ///< The earlier scan.
  ScanIdentity after;          ///< The later scan.
  double threshold = 10000.0;  ///< DiffOptions's.
  uint64_t common = 0;         ///< Tensors that both have.
  /// In the order of the later scan; those that it doesn't have stand behind.
  std::vector<TensorChange> changes;

  /// Both scans are of one file, at one opset.
  bool SameModel() const { return before.model_sha256 == after.model_sha256 && before.opset == after.opset; }
  bool NewOverflow() const;  ///< Any change is for the worse.
};

/// What a comparison of scans takes into account.
struct DiffOptions {
  double threshold = 10000.0;  ///< What counts as overflow below 65504.
};

/// Holds the tensors of two scans against each other, by name.
RangesDiff Diff(const RangeTable& before, const RangeTable& after, const DiffOptions& options = {});

/// The comparison as a halfsafe-diff file (docs/formats.md).
std::string ToJson(const RangesDiff& diff);

}  // namespace halfsafe
