#pragma once

#include <optional>
#include <string>
#include <vector>

#include "halfsafe/check.h"
#include "halfsafe/diff.h"
#include "halfsafe/engine.h"
#include "halfsafe/error.h"
#include "halfsafe/half.h"
#include "halfsafe/model.h"
#include "halfsafe/plan.h"
#include "halfsafe/progress.h"
#include "halfsafe/ranges.h"
#include "halfsafe/rewrite.h"
#include "halfsafe/sample.h"
#include "halfsafe/version.h"

/// The stages that make a model safe in half precision, and the values that pass between them.
namespace halfsafe {

/// The options of the stages, and those of the loop around them.
struct FixOptions {
  ScanOptions scan;    ///< Of the scan.
  PlanOptions plan;    ///< Of the first plan.
  CheckOptions check;  ///< Of every check, and of widening and taking back.
  /// Seconds for taking nodes back to FP16 after widening; 0: none are. Without: a fixed number of steps.
  std::optional<double> budget;
  double holdout = 0.0;  ///< Share of the samples kept out of calibration; the check runs on them too.
  /// Keep nodes in FP32 that ONNX Runtime's CPU provider can't load or run in 16 bits, where it names them.
  bool runs_on_cpu = false;
};

/// What became of a model, with everything that led there.
struct FixResult {
  RangeTable ranges;  ///< Of the samples that were not held out.
  Plan plan;          ///< The last one, which `fixed` was made by.
  Model fixed;        ///< The mixed-precision model.
  /// Of `fixed`, on the samples that were not held out. Right, and without outputs, where no node of the
  /// model can be in 16 bits: then nothing was run.
  CheckResult check;
  std::optional<CheckResult> holdout;  ///< The check on the samples kept out of calibration.
  std::vector<Widening> widenings;     ///< Steps after the first check, in order.
  Narrowing narrowing;                 ///< What of that was taken back.
  bool right = false;                  ///< Both checks are right.
  bool only_fp32 = false;              ///< Nothing is left in FP16.
  /// `fixed` is the given model itself, which is in 16 bits already and right; `plan` then says which of its
  /// nodes are in which type. Saved under the same name it has the bytes of a file that halfsafe wrote.
  bool as_stored = false;
};

/// The whole job: scan, plan, apply, check; while the check fails, move the nodes that hurt most to FP32 and
/// check again; then take back those that needn't have moved. Each stage is also a function of its own, and
/// gives the same result. For a model that was raised to another opset, `check.reference` is the one that it
/// was made from. A model with 16-bit tensors that is right as it is, and has the types that `options.plan`
/// asks for, comes back unchanged. Throws what the stages throw.
FixResult Fix(const Model& model, const SampleSource& samples, const FixOptions& options, Progress* progress);

}  // namespace halfsafe
