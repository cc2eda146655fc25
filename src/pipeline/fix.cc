#include <fmt/format.h>
#include <onnx/onnx_pb.h>

#include <algorithm>
#include <cmath>
#include <optional>
#include <set>

#include "halfsafe/halfsafe.h"
#include "model/graph_index.h"
#include "runtime/provider.h"
#include "verify/on_device.h"

namespace halfsafe {
namespace {

/// Sample i is held out when the running share passes a whole number: spread evenly, the same in every run.
class Split : public SampleSource {
 public:
  Split(const SampleSource& source, double share, bool held_out) : source_(source) {
    for (uint64_t i = 0; i < source.size(); ++i) {
      const bool out =
          std::floor(static_cast<double>(i + 1) * share) > std::floor(static_cast<double>(i) * share);
      if (out == held_out) members_.push_back(i);
    }
  }
  uint64_t size() const override { return members_.size(); }
  std::string Name(uint64_t index) const override { return source_.Name(members_[index]); }
  Sample Read(uint64_t index) const override { return source_.Read(members_[index]); }

 private:
  const SampleSource& source_;
  std::vector<uint64_t> members_;
};

/// A plan that was checked, and what became of it on the way.
struct Repaired {
  Plan plan;
  Model fixed;
  CheckResult check;
  std::vector<Widening> widenings;
  Narrowing narrowing;
};

/// What comes of a model of which nothing can be in 16 bits, nor therefore be wrong.
FixResult FixNothing(const Model& model, uint64_t samples, Plan plan, Progress* progress) {
  for (const std::string& warning : plan.warnings) progress->Warn(warning);
  RangeTable ranges;
  ranges.model_sha256 = model.sha256();
  ranges.opset = model.raised_opset();
  CheckResult check;
  check.samples = samples;
  check.fixed.right = true;
  Model same = Apply(model, plan);
  return {std::move(ranges),
          std::move(plan),
          std::move(same),
          std::move(check),
          std::nullopt,
          {},
          {},
          true,
          true};
}

/// Whether two plans give every node the same type.
bool SamePrecisions(const Plan& one, const Plan& other) {
  return std::ranges::equal(one.nodes, other.nodes, [](const NodePlan& a, const NodePlan& b) {
    return a.name == b.name && a.precision == b.precision;
  });
}

/// A plan on its way to a model that is right under emulation.
class Repairing {
 public:
  Repairing(const Model& model, const SampleSource& samples, Plan plan, const CheckOptions& check,
            Progress* progress)
      : model_(model), samples_(samples), check_(check), progress_(*progress), fixed_(Apply(model, plan)) {
    // Outputs are written once, for the model that comes out, and a GPU sees that one alone.
    check_.save_outputs.clear();
    check_.provider = Provider::kCpu;
    result_ = CheckAgainstKept(model, fixed_, samples, &check_, progress);
    plan_ = std::move(plan);
    // These don't change from one step to the next.
    check_.plain = false;
    plain_ = std::move(result_.plain);
    rules_ = result_.rules;
    check_.rules = &rules_;
    close_ = result_.fixed.close_samples;
    check_.close_samples = &close_;
  }

  void Widen() {
    while (!result_.fixed.right) {
      Widening widening = halfsafe::Widen(model_, &plan_, samples_, result_, check_, &progress_);
      if (!widening.possible) break;
      widenings_.push_back(std::move(widening));
      CheckAgain();
    }
  }

  /// Takes back what need not have been widened.
  void Narrow(std::optional<double> budget) {
    if (!result_.fixed.right || widenings_.empty()) return;
    // One step that left out what it could has done this already.
    narrowing_.minimal = widenings_.size() == 1 && widenings_[0].minimal;
    if (narrowing_.minimal || budget == 0.0) return;
    narrowing_ = halfsafe::Narrow(model_, &plan_, samples_, result_, check_, budget, &progress_);
    if (!narrowing_.nodes.empty()) CheckAgain();
  }

  /// Cuts the borders of what was widened anew, where that is right too: Casts lie elsewhere now.
  void CutBorders(const PlanOptions& options) {
    if (!result_.fixed.right || widenings_.empty()) return;
    Plan anew = MakePlan(model_, *check_.ranges, options, &plan_);
    if (SamePrecisions(anew, plan_)) return;
    std::swap(plan_, anew);
    const CheckResult before = result_;
    CheckAgain();
    if (result_.fixed.right) return;
    plan_ = std::move(anew);
    fixed_ = Apply(model_, plan_);
    result_ = before;
  }

  Repaired Finish() {
    if (DropUnused(&plan_)) CheckAgain();
    result_.plain = std::move(plain_);
    return {std::move(plan_), std::move(fixed_), std::move(result_), std::move(widenings_),
            std::move(narrowing_)};
  }

 private:
  void CheckAgain() {
    fixed_ = Apply(model_, plan_);
    result_ = Check(model_, fixed_, samples_, check_, &progress_);
    close_.insert(close_.end(), result_.fixed.close_samples.begin(), result_.fixed.close_samples.end());
  }

  const Model& model_;
  const SampleSource& samples_;
  CheckOptions check_;
  Progress& progress_;
  Plan plan_;
  Model fixed_;
  CheckResult result_;
  std::optional<ModelErrors> plain_;
  std::vector<OutputRule> rules_;
  std::vector<std::string> close_;  ///< Samples that were near the tolerance in any step.
  std::vector<Widening> widenings_;
  Narrowing narrowing_;
};

/// Widens a plan, made with `options`, until the emulation is right, and leaves in FP32 what it takes.
Repaired MakeRight(const Model& model, const SampleSource& samples, Plan plan, const PlanOptions& options,
                   const CheckOptions& check, std::optional<double> budget, Progress* progress) {
  Repairing repairing(model, samples, std::move(plan), check, progress);
  repairing.Widen();
  repairing.Narrow(budget);
  repairing.CutBorders(options);
  return repairing.Finish();
}

/// The operators of FP16 nodes of `plan` that the provider sums up in FP16, which the emulation doesn't.
std::vector<std::string> SumsInFp16(const Model& model, const Plan& plan) {
  std::set<std::string> found;
  for (const NodePlan& planned : plan.nodes) {
    const int id = model.index().FindNode(planned.name);
    if (id < 0 || planned.precision != Precision::kFp16) continue;
    const onnx::NodeProto& node = *model.index().node(id).proto;
    const bool sums =
        std::find(kCudaSumsInFp16.begin(), kCudaSumsInFp16.end(), node.op_type()) != kCudaSumsInFp16.end();
    if (sums && node.domain().empty()) found.insert(node.op_type());
  }
  return {found.begin(), found.end()};
}

/// Runs what was made right on the GPU too. Where it runs and is wrong there alone, tries again with the
/// operators in FP32 that the GPU sums up in FP16.
void MakeRightOnDevice(const Model& model, const SampleSource& samples, const FixOptions& options,
                       CheckOptions check, Repaired* repaired, Progress* progress) {
  CheckResult& result = repaired->check;
  const std::vector<OutputRule> rules = result.rules;
  check.rules = &rules;
  CheckOnDevice(model, repaired->fixed, samples, check, progress, &result);
  const std::vector<std::string> sums = SumsInFp16(model, repaired->plan);
  const bool wrong_there_alone =
      result.fixed.right && !result.device->fixed.right && result.device->fixed.failure.empty();
  if (!wrong_there_alone || sums.empty()) return;
  PlanOptions wide = options.plan;
  wide.keep_ops.insert(wide.keep_ops.end(), sums.begin(), sums.end());
  check.plain = false;  // It is what it was.
  Repaired again =
      MakeRight(model, samples, MakePlan(model, *check.ranges, wide), wide, check, options.budget, progress);
  CheckOnDevice(model, again.fixed, samples, check, progress, &again.check);
  if (!again.check.Right()) return;
  for (const std::string& op : sums) {
    again.plan.warnings.push_back(
        fmt::format("right under emulation and wrong on the GPU, which sums up {0} in FP16: kept in FP32, as "
                    "by --keep-op {0}",
                    op));
    progress->Warn(again.plan.warnings.back());
  }
  again.check.plain = std::move(result.plain);
  again.check.device->plain = std::move(result.device->plain);
  *repaired = std::move(again);
}

}  // namespace

FixResult Fix(const Model& model, const SampleSource& all, const FixOptions& options, Progress* progress) {
  CheckPlanOptions(model, options.plan);
  const Split samples(all, options.holdout, false);
  const Split held_out(all, options.holdout, true);
  if (options.holdout > 0.0 && held_out.size() == 0)
    throw BadUsage("--holdout holds no sample out: give more samples or a larger share");
  if (samples.size() == 0) throw BadUsage("--holdout leaves no sample to calibrate with");
  const bool more_wanted = options.plan.io_fp16 || !options.check.save_outputs.empty();
  if (std::optional<Plan> nothing = PlanForNothing(model, options.plan.half); nothing && !more_wanted)
    return FixNothing(model, samples.size(), *std::move(nothing), progress);
  KeptOutputs outputs;
  ScanOptions scan = options.scan;
  // Those of a model that was raised to another opset prove nothing, nor do a GPU's.
  if (options.check.reference == nullptr && scan.provider == Provider::kCpu) scan.keep_outputs = &outputs;
  RangeTable ranges = Scan(model, samples, scan, progress);
  CheckOptions check = options.check;
  check.ranges = &ranges;
  check.kept_outputs = &outputs;
  Plan plan = MakePlan(model, ranges, options.plan);
  for (const std::string& warning : plan.warnings) progress->Warn(warning);
  Repaired repaired =
      MakeRight(model, samples, std::move(plan), options.plan, check, options.budget, progress);
  if (check.provider != Provider::kCpu)
    MakeRightOnDevice(model, samples, options, check, &repaired, progress);
  if (!check.save_outputs.empty()) {
    check.plain = true;
    check.provider = Provider::kCpu;
    check.rules = &repaired.check.rules;
    Check(model, repaired.fixed, samples, check, progress);
    check.save_outputs.clear();
    check.provider = options.check.provider;
  }

  const bool only_fp32 = repaired.plan.OnlyFp32();
  FixResult fix{std::move(ranges),
                std::move(repaired.plan),
                std::move(repaired.fixed),
                std::move(repaired.check),
                std::nullopt,
                std::move(repaired.widenings),
                std::move(repaired.narrowing),
                false,
                only_fp32};
  check.plain = false;
  check.ranges = nullptr;
  check.kept_outputs = nullptr;
  check.rules = &fix.check.rules;
  if (held_out.size() > 0) fix.holdout = Check(model, fix.fixed, held_out, check, progress);
  fix.right = fix.check.Right() && (!fix.holdout || fix.holdout->Right());
  return fix;
}

}  // namespace halfsafe
