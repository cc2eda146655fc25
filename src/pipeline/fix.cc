#include <fmt/format.h>
#include <onnx/onnx_pb.h>

#include <algorithm>
#include <cmath>
#include <optional>
#include <set>
#include <utility>

#include "halfsafe/halfsafe.h"
#include "model/graph_index.h"
#include "model/lift.h"
#include "model/lifted_samples.h"
#include "model/precision_ports.h"
#include "plan/work.h"
#include "rewrite/loadable.h"
#include "runtime/provider.h"
#include "verify/load_check.h"
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
    check_.seed = 0;
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

  /// The roundings of `seed` have the last word, and none in what is chosen: the plan is the same for all.
  Repaired Finish(uint64_t seed) {
    if (DropUnused(&plan_) || seed != check_.seed) {
      check_.seed = seed;
      CheckAgain();
    }
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
  return repairing.Finish(check.seed);
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

/// Gives FP32 to the node that `found` names, and where ONNX Runtime has no kernel of that type, to all nodes
/// of its operator. Whether there was any.
bool KeepWhatFails(const Model& model, const CpuResult& found, Plan* plan) {
  const int id = model.index().FindNode(found.node);
  if (id < 0) return false;
  const std::string& op = model.index().node(id).proto->op_type();
  bool any = false;
  for (NodePlan& node : plan->nodes) {
    const int other = model.index().FindNode(node.name);
    const bool same = node.name == found.node || (found.stage == "load" && other >= 0 &&
                                                  model.index().node(other).proto->op_type() == op);
    if (!same || node.precision == Precision::kFp32) continue;
    node.precision = Precision::kFp32;
    node.reason = "does-not-load";
    node.evidence = fmt::format("ONNX Runtime's CPU provider: {}", found.message);
    any = true;
  }
  return any;
}

/// Keeps nodes in FP32 that ONNX Runtime's CPU provider refuses in 16 bits, as long as it names another.
void MakeRunOnCpu(const Model& model, const SampleSource& samples, CheckOptions check, Repaired* repaired,
                  Progress* progress) {
  const std::optional<CpuResult>& found = repaired->check.on_cpu;
  bool changed = false;
  while (found && !found->runs && KeepWhatFails(model, *found, &repaired->plan)) {
    repaired->fixed = Apply(model, repaired->plan);
    repaired->check.on_cpu = RunOnCpu(repaired->fixed, samples, check);
    changed = true;
  }
  if (!changed) return;
  CheckResult& result = repaired->check;
  const std::vector<OutputRule> rules = result.rules;
  check.rules = &rules;
  check.plain = false;
  CheckResult again = Check(model, repaired->fixed, samples, check, progress);
  again.plain = std::move(result.plain);
  again.on_cpu = std::move(result.on_cpu);
  result = std::move(again);
}

/// What the file behind a lifted model is, where that may be what is asked for.
class AsItIs {
 public:
  AsItIs(const Model& lifted, const RangeTable& ranges, const Plan& plan, const PlanOptions& options)
      : lifted_(lifted), stored_(*lifted.AsStored()), ranges_(ranges), plan_(plan), options_(options) {}

  /// The plan of the file's own precisions; nothing where these are not what `options` asks for, or more is
  /// in FP32 than the plan has there and halfsafe doesn't say in the file why.
  std::optional<Plan> Precisions() const {
    const bool clamps = lifted_.lifts_clamps() && !FindHalfClamps(stored_, stored_.index()).empty();
    if (lifted_.raised_opset() || clamps || !SameInterface()) return std::nullopt;
    if (CrashesRuntime(stored_) || !InnerTypesFit()) return std::nullopt;
    Plan own = plan_;
    own.tensors.clear();
    own.constants.clear();
    bool findings = false;
    const PrecisionPorts ports(lifted_.index());
    for (NodePlan& node : own.nodes) {
      const int id = stored_.index().FindNode(node.name), in_fp32 = lifted_.index().FindNode(node.name);
      if (id < 0) continue;
      const NodeFindings found = FindingsOf(*stored_.index().node(id).proto);
      const Precision precision = PrecisionOf(id);
      const bool by_user = node.reason == "user" || found.reason == "user";
      // A Cast at an output has that output's type, whatever nodes have.
      const std::string& op = stored_.index().node(id).proto->op_type();
      const bool fits = op == "Cast" || op == "CastLike" || Fits(precision);
      if (!fits || (by_user && (node.reason != "user" || precision != Precision::kFp32))) return std::nullopt;
      if (!found.reason.empty()) {
        node.reason = found.reason;
        node.evidence = found.evidence;
      } else if (precision != node.precision) {
        node.reason = "as-in-file";
        node.evidence.clear();
      }
      // A plan can't ask for 16 bits of what is typed by an attribute: the node keeps its type by that.
      const bool typed_otherwise = in_fp32 >= 0 && !ports.WhyNot(in_fp32).empty();
      node.precision = typed_otherwise ? Precision::kFp32 : precision;
      findings = findings || !found.reason.empty();
    }
    findings = findings || AnyInserted();
    if (!findings && Share(own) < Share(plan_)) return std::nullopt;
    own.warnings.push_back(
        "the file is right as it is: what is written has the same nodes and types, and the plan says which");
    return own;
  }

 private:
  /// The file's inputs and outputs have the types that the plan would give them.
  bool SameInterface() const {
    PlanOptions keep = options_;
    keep.io = Interface::kKeep;
    const std::vector<IoPlan> own = MakePlan(lifted_, ranges_, keep).io;
    return std::ranges::equal(own, plan_.io, [](const IoPlan& a, const IoPlan& b) {
      return a.name == b.name && a.precision == b.precision;
    });
  }

  /// No tensor inside is of a 16-bit type that isn't asked for. Casts that lifting takes out are in no plan.
  bool InnerTypesFit() const {
    return std::ranges::none_of(stored_.index().tensors(), [&](const TensorInfo& tensor) {
      const bool inner = tensor.kind == TensorKind::kActivation && !tensor.graph_output;
      return inner && IsSixteenBit(tensor.dtype) &&
             !Fits(tensor.dtype == DType::kFloat16 ? Precision::kFp16 : Precision::kBf16);
    });
  }

  bool Fits(Precision precision) const {
    if (precision == Precision::kFp32 || precision == options_.half) return true;
    return precision == Precision::kBf16 && options_.repair == Repair::kBf16;
  }

  /// What a node of the file writes, or reads where it writes no floating-point tensor.
  Precision PrecisionOf(int id) const {
    const NodeInfo& node = stored_.index().node(id);
    for (const auto* tensors : {&node.outputs, &node.inputs}) {
      for (const int tensor : *tensors) {
        const DType dtype = tensor < 0 ? DType::kUndefined : stored_.index().tensor(tensor).dtype;
        if (dtype == DType::kFloat) return Precision::kFp32;
        if (IsSixteenBit(dtype)) return dtype == DType::kFloat16 ? Precision::kFp16 : Precision::kBf16;
      }
    }
    return Precision::kFp32;
  }

  bool AnyInserted() const {
    return std::ranges::any_of(stored_.index().nodes(), [](const NodeInfo& node) {
      return !FindingsOf(*node.proto).inserted.empty();
    });
  }

  double Share(const Plan& plan) const { return ShareInHalf(lifted_, ranges_, plan).share; }

  const Model& lifted_;
  const Model& stored_;
  const RangeTable& ranges_;
  const Plan& plan_;
  const PlanOptions& options_;
};

/// The file behind a lifted model, where it is what `options` asks for and right on all samples. Where it ran
/// and is wrong, `plain` gets its errors, which are those of what is there without fixing.
std::optional<Repaired> RightAsItIs(const Model& model, const SampleSource& samples,
                                    const SampleSource& held_out, const Plan& plan, const FixOptions& options,
                                    CheckOptions check, std::optional<ModelErrors>* plain,
                                    Progress* progress) {
  if (model.AsStored() == nullptr || options.check.reference != nullptr) return std::nullopt;
  std::optional<Plan> own = AsItIs(model, *check.ranges, plan, options.plan).Precisions();
  if (!own) return std::nullopt;
  const Model& stored = *model.AsStored();
  const uint64_t seed = std::exchange(check.seed, 0);  // Which has no part in what is chosen.
  check.save_outputs.clear();
  check.provider = Provider::kCpu;
  CheckResult result = Check(model, stored, samples, check, progress);
  if (!result.fixed.right) {
    *plain = std::move(result.fixed);
    return std::nullopt;
  }
  if (options.check.provider != Provider::kCpu) {
    check.provider = options.check.provider;
    const std::vector<OutputRule> rules = result.rules;
    check.rules = &rules;
    CheckOnDevice(model, stored, samples, check, progress, &result);
    if (!result.Right()) return std::nullopt;
  }
  if (held_out.size() > 0) {
    CheckOptions other = options.check;
    other.plain = other.on_cpu = false;
    other.save_outputs.clear();
    other.rules = &result.rules;
    if (!Check(model, stored, held_out, other, progress).Right()) return std::nullopt;
  }
  if (seed != 0) {
    check.seed = seed;
    check.provider = Provider::kCpu;
    check.rules = nullptr;
    std::optional<DeviceErrors> device = std::move(result.device);
    result = Check(model, stored, samples, check, progress);
    result.device = std::move(device);
  }
  return Repaired{*std::move(own), Model(stored, stored.proto()), std::move(result), {}, {}};
}

}  // namespace

FixResult Fix(const Model& given, const SampleSource& all, const FixOptions& options, Progress* progress) {
  const Model& model = given.Lifted();
  CheckPlanOptions(model, options.plan);
  const Split some(all, options.holdout, false);
  const Split others(all, options.holdout, true);
  if (options.holdout > 0.0 && others.size() == 0)
    throw BadUsage("--holdout holds no sample out: give more samples or a larger share");
  if (some.size() == 0) throw BadUsage("--holdout leaves no sample to calibrate with");
  Progress silent;
  const LiftedSamples lifted_some(model, some, progress), lifted_others(model, others, &silent);
  const SampleSource &samples = lifted_some.source(), &held_out = lifted_others.source();
  const bool more_wanted = options.plan.io == Interface::kFp16 || !options.check.save_outputs.empty();
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
  check.on_cpu = false;  // What comes out is tried, and nothing on the way.
  Plan plan = MakePlan(model, ranges, options.plan);
  for (const std::string& warning : plan.warnings) progress->Warn(warning);
  std::optional<ModelErrors> plain;
  std::optional<Repaired> as_it_is =
      RightAsItIs(model, samples, held_out, plan, options, check, &plain, progress);
  const bool as_stored = as_it_is.has_value();
  CheckOptions first = check;
  first.plain = check.plain && !plain;  // It has run already.
  Repaired repaired =
      as_it_is ? *std::move(as_it_is)
               : MakeRight(model, samples, std::move(plan), options.plan, first, options.budget, progress);
  if (plain && check.plain) repaired.check.plain = std::move(plain);
  if (check.provider != Provider::kCpu && !as_stored)
    MakeRightOnDevice(model, samples, options, check, &repaired, progress);
  if (options.check.on_cpu) {
    repaired.check.on_cpu = RunOnCpu(repaired.fixed, samples, check);
    if (options.runs_on_cpu) MakeRunOnCpu(model, samples, check, &repaired, progress);
  }
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
                only_fp32,
                as_stored};
  check.plain = false;
  check.ranges = nullptr;
  check.kept_outputs = nullptr;
  check.rules = &fix.check.rules;
  if (held_out.size() > 0) fix.holdout = Check(model, fix.fixed, held_out, check, progress);
  fix.right = fix.check.Right() && (!fix.holdout || fix.holdout->Right());
  return fix;
}

}  // namespace halfsafe
