#include <algorithm>
#include <cmath>

#include "halfsafe/halfsafe.h"
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

}  // namespace

FixResult Fix(const Model& model, const SampleSource& all, const FixOptions& options, Progress* progress) {
  CheckPlanOptions(model, options.plan);
  const Split samples(all, options.holdout, false);
  const Split held_out(all, options.holdout, true);
  if (options.holdout > 0.0 && held_out.size() == 0)
    throw BadUsage("--holdout holds no sample out: give more samples or a larger share");
  if (samples.size() == 0) throw BadUsage("--holdout leaves no sample to calibrate with");
  KeptOutputs outputs;
  ScanOptions scan = options.scan;
  // Those of a model that was raised to another opset prove nothing, nor do a GPU's.
  if (options.check.reference == nullptr && scan.provider == Provider::kCpu) scan.keep_outputs = &outputs;
  RangeTable ranges = Scan(model, samples, scan, progress);
  Plan plan = MakePlan(model, ranges, options.plan);
  for (const std::string& warning : plan.warnings) progress->Warn(warning);

  CheckOptions check = options.check;
  check.ranges = &ranges;
  check.kept_outputs = &outputs;
  Model fixed = Apply(model, plan);
  // Outputs are written once, for the model that comes out.
  check.save_outputs.clear();
  check.provider = Provider::kCpu;
  CheckResult result = Check(model, fixed, samples, check, progress);
  std::vector<Widening> widenings;
  std::optional<ModelErrors> plain = result.plain;
  check.plain = false;  // It doesn't change from one step to the next.
  while (!result.fixed.right) {
    Widening widening = Widen(model, &plan, samples, result, check, progress);
    if (!widening.possible) break;
    widenings.push_back(std::move(widening));
    fixed = Apply(model, plan);
    result = Check(model, fixed, samples, check, progress);
  }
  Narrowing narrowing;
  // One step that left out what it could has done this already.
  narrowing.minimal = result.fixed.right && widenings.size() == 1 && widenings[0].minimal;
  if (result.fixed.right && !widenings.empty() && !narrowing.minimal && options.budget != 0.0) {
    narrowing = Narrow(model, &plan, samples, result, check, options.budget, progress);
    if (!narrowing.nodes.empty()) {
      fixed = Apply(model, plan);
      result = Check(model, fixed, samples, check, progress);
    }
  }
  if (!options.check.save_outputs.empty()) {
    check.plain = true;
    check.save_outputs = options.check.save_outputs;
    Check(model, fixed, samples, check, progress);
    check.plain = false;
    check.save_outputs.clear();
  }
  result.plain = std::move(plain);
  check.provider = options.check.provider;
  check.plain = options.check.plain;
  if (check.provider != Provider::kCpu) CheckOnDevice(model, fixed, samples, check, progress, &result);
  check.plain = false;

  const bool only_fp32 = std::none_of(plan.nodes.begin(), plan.nodes.end(), [](const NodePlan& node) {
    return node.precision != Precision::kFp32;
  });
  FixResult fix{std::move(ranges),    std::move(plan), std::move(fixed),
                std::move(result),    std::nullopt,    std::move(widenings),
                std::move(narrowing), false,           only_fp32};
  check.ranges = nullptr;
  check.kept_outputs = nullptr;
  if (held_out.size() > 0) fix.holdout = Check(model, fix.fixed, held_out, check, progress);
  fix.right = fix.check.Right() && (!fix.holdout || fix.holdout->Right());
  return fix;
}

}  // namespace halfsafe
