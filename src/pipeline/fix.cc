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

/// Widens a plan until the emulation is right, then takes back what need not have been widened.
Repaired MakeRight(const Model& model, const SampleSource& samples, Plan plan, CheckOptions check,
                   std::optional<double> budget, Progress* progress) {
  Model fixed = Apply(model, plan);
  // Outputs are written once, for the model that comes out, and a GPU sees that one alone.
  check.save_outputs.clear();
  check.provider = Provider::kCpu;
  CheckResult first = CheckAgainstKept(model, fixed, samples, &check, progress);
  check.plain = false;  // It doesn't change from one step to the next.
  Repaired repaired{std::move(plan), std::move(fixed), std::move(first), {}, {}};
  CheckResult& result = repaired.check;
  const std::optional<ModelErrors> plain = std::move(result.plain);
  const auto check_again = [&] {
    repaired.fixed = Apply(model, repaired.plan);
    result = Check(model, repaired.fixed, samples, check, progress);
  };
  while (!result.fixed.right) {
    Widening widening = Widen(model, &repaired.plan, samples, result, check, progress);
    if (!widening.possible) break;
    repaired.widenings.push_back(std::move(widening));
    check_again();
  }
  // One step that left out what it could has done this already.
  Narrowing& narrowing = repaired.narrowing;
  narrowing.minimal = result.fixed.right && repaired.widenings.size() == 1 && repaired.widenings[0].minimal;
  if (result.fixed.right && !repaired.widenings.empty() && !narrowing.minimal && budget != 0.0) {
    narrowing = Narrow(model, &repaired.plan, samples, result, check, budget, progress);
    if (!narrowing.nodes.empty()) check_again();
  }
  if (DropUnused(&repaired.plan)) check_again();
  result.plain = plain;
  return repaired;
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
  CheckOnDevice(model, repaired->fixed, samples, check, progress, &result);
  const std::vector<std::string> sums = SumsInFp16(model, repaired->plan);
  const bool wrong_there_alone =
      result.fixed.right && !result.device->fixed.right && result.device->fixed.failure.empty();
  if (!wrong_there_alone || sums.empty()) return;
  PlanOptions wide = options.plan;
  wide.keep_ops.insert(wide.keep_ops.end(), sums.begin(), sums.end());
  check.plain = false;  // It is what it was.
  Repaired again =
      MakeRight(model, samples, MakePlan(model, *check.ranges, wide), check, options.budget, progress);
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
  Repaired repaired = MakeRight(model, samples, std::move(plan), check, options.budget, progress);
  if (check.provider != Provider::kCpu)
    MakeRightOnDevice(model, samples, options, check, &repaired, progress);
  if (!check.save_outputs.empty()) {
    check.plain = true;
    check.provider = Provider::kCpu;
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
  if (held_out.size() > 0) fix.holdout = Check(model, fix.fixed, held_out, check, progress);
  fix.right = fix.check.Right() && (!fix.holdout || fix.holdout->Right());
  return fix;
}

}  // namespace halfsafe
