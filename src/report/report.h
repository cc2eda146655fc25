#pragma once

#include <optional>
#include <string>
#include <vector>

#include "halfsafe/halfsafe.h"
#include "plan/work.h"

namespace halfsafe {

/// A node that is not FP16, for tables.
struct WideNode {
  std::string name;
  std::string op_type;
  std::string reason;
  std::string evidence;
};

/// A tensor past the limits, for tables.
struct OverflowRow {
  std::string tensor;
  std::string node;  ///< The node that writes it; empty for inputs.
  std::string op_type;
  TensorStats stats;
};

/// Everything a command has to say about a model, in one value. Parts that a command doesn't produce stay
/// empty.
struct Report {
  std::string command;
  std::string model_path;
  std::string model_sha256;
  uint64_t model_bytes = 0;
  std::optional<int> opset;  ///< That the model was raised to.
  uint64_t samples = 0;
  std::vector<SkippedSample> skipped;  ///< Bad ones, left out.
  double threshold = 10000.0;
  uint64_t tensors = 0;                  ///< Float tensors seen.
  std::vector<OverflowRow> overflowing;  ///< Largest first.
  std::vector<std::string> out_of_range_weights;
  std::vector<std::string>
      partial_sums;                   ///< Tensors whose sums on the way may pass 65504 although they don't.
  uint64_t nodes = 0;                 ///< Nodes that could be FP16 or had to stay FP32.
  Precision half = Precision::kFp16;  ///< The 16-bit type of the plan's nodes.
  std::vector<WideNode> fp32_nodes;
  std::vector<WideNode> bf16_nodes;
  std::vector<ConstantPlan> constants;
  std::vector<TensorPlan> rescaled;  ///< Tensors and constants stored times a power of two.
  std::optional<WorkShare> work;     ///< How much of the work is in `half`; unset where nothing was planned.
  /// Tensors that the fixed model stores in FP16 and that overflow there, largest first; unset where nobody
  /// looked.
  std::optional<std::vector<OverflowRow>> fixed_overflowing;
  std::string fixed_path;
  uint64_t fixed_bytes = 0;
  uint64_t casts = 0;
  std::optional<CheckResult> check;
  std::optional<CheckResult> holdout;
  std::vector<Widening> widenings;
  Narrowing narrowing;
  Tolerance tolerance;
  std::vector<std::string> warnings;
  std::string verdict;  ///< "right", "little-gained" (and right) or "not-right"; empty without a check.
  std::vector<std::string> little_gained;  ///< Why, where the verdict says so: sentences.
  double seconds = 0.0;
};

/// Fills the parts that come from a scan.
void AddRanges(const Model& model, const RangeTable& ranges, double threshold, Report* report);
/// Fills the parts that come from a plan.
void AddPlan(const Model& model, const RangeTable* ranges, const Plan& plan, Report* report);
/// Fills the parts that come from a fixed model, which lies at `path`.
void AddFixed(const Model& fixed, const std::string& path, Report* report);

/// Warns where the fixed model does not run on ONNX Runtime's CPU provider: `result` is what was found, or nothing.
void WarnOfCpu(const Model& fixed, const std::optional<CpuResult>& result, Report* report);

/// Sets the verdict: `right` is what the check found, and whether anything was gained is told from the
/// models.
void AddVerdict(const Model& original, const Model& fixed, bool right, Report* report);

/// Fills in the parts of a check: the verdict, and of `fixed`, for which no plan was made, how many
/// floating-point tensors are given or computed and how many nodes read or write any.
void AddCheck(const Model& original, const Model& fixed, CheckResult result, Report* report);

/// Fills in all that Fix found; the fixed model lies at `path`.
void AddFix(const Model& model, const FixResult& fix, const FixOptions& options, const std::string& path,
            Report* report);

/// Fills in what overflows inside the fixed model (OverflowOfFixed).
void AddFixedOverflow(const Model& fixed, const std::vector<TensorStats>& overflow, double threshold,
                      Report* report);

/// The report as a halfsafe-result file.
std::string ToJson(const Report& report);

/// The report as tables for a terminal of `width` columns; `color` marks verdicts, never alone.
std::string ToText(const Report& report, int width, bool color);

}  // namespace halfsafe
