#include <fmt/format.h>

#include <chrono>

#include "base/file.h"
#include "cli/console.h"
#include "cli/options.h"
#include "model/lifted_samples.h"
#include "model/walk.h"

namespace halfsafe {
namespace {

double Since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

struct FixCommand {
  CommonOptions common;
  FixOptions options;
  Provider provider = Provider::kCpu;
  std::string save_plan, save_ranges;
  bool no_findings = false;

  ExitCode Run() {
    const auto start = std::chrono::steady_clock::now();
    RequireOutputs(&common, {{"--save-plan", save_plan},
                             {"--save-ranges", save_ranges},
                             {"--save-outputs", options.check.save_outputs, true}});
    ConsoleProgress progress(common.quiet);
    const Model original = LoadRunnable(common.model, common);
    std::optional<Model> raised;
    const bool raises = common.opset && *common.opset != OpsetVersion(original.proto(), "");
    if (raises) raised = LoadModel(common.model, common, common.opset);
    const Model& model = raised ? *raised : original;
    if (raised) options.check.reference = &original;
    const auto samples = OpenData(model, common, &progress);
    options.scan.threads = options.check.threads = common.threads;
    options.scan.low_memory = options.check.low_memory = common.low_memory;
    options.scan.allow_nan = options.check.allow_nan = common.allow_nan;
    options.scan.provider = options.check.provider = provider;
    options.scan.custom_op_libraries = options.check.custom_op_libraries = Paths(common.custom_ops);
    options.plan.threshold = common.threshold;
    options.check.per_sample = options.check.fixed_ranges = !common.report.empty();
    options.plan.latencies = ReadLatencies(common.latencies);
    FixResult result = Fix(model, *samples, options, &progress);
    if (!save_plan.empty()) WriteFileAtomically(save_plan, ToJson(result.plan));
    if (!save_ranges.empty()) WriteFileAtomically(save_ranges, ToJson(result.ranges));
    if (no_findings) result.fixed = WithoutFindings(result.fixed);
    result.fixed.Save(common.output);

    Report report = StartReport("fix", model);
    AddFix(model, result, options, common.output, &report);
    report.seconds = Since(start);
    WriteReportFile(report, {model, &result.ranges, common.threshold, &result.plan, &result.fixed}, common);
    return Finish(report, common, result.right ? ExitCode::kOk : ExitCode::kNotRight);
  }
};

struct CheckCommand {
  CommonOptions common;
  CheckOptions options;
  std::string fixed, widen, narrow;
  std::optional<RangeTable> ranges;  ///< Of the original, where they were needed.
  KeptOutputs outputs;

  ExitCode Run() {
    const auto start = std::chrono::steady_clock::now();
    // One plan may be widened where the check fails, and narrowed where it doesn't.
    RequireOutputs(&common,
                   {{"--widen", widen},
                    {"--narrow", narrow == widen ? "" : narrow},
                    {"--save-outputs", options.save_outputs, true}},
                   {fixed});
    ConsoleProgress progress(common.quiet);
    const Model model = LoadRunnable(common.model, common);
    const Model fixed_model = LoadRunnable(fixed, common);
    const auto data = OpenData(model, common, &progress);
    const LiftedSamples lifted(model.Lifted(), *data, &progress);
    const SampleSource* samples = &lifted.source();
    options.threads = common.threads;
    options.low_memory = common.low_memory;
    options.allow_nan = common.allow_nan;
    options.custom_op_libraries = Paths(common.custom_ops);
    const bool page = !common.report.empty();
    options.per_sample = page;
    if (page) {
      ScanOriginal(model, *samples, &outputs, &progress);
      options.kept_outputs = &outputs;
    }
    Report report = StartReport("check", model);
    report.samples = samples->size();
    AddFixed(fixed_model, fixed, &report);
    report.tolerance = options.tolerance;
    options.fixed_ranges = common.fail_on_overflow || page;
    AddCheck(model, fixed_model, CheckAgainstKept(model, fixed_model, *samples, &options, &progress),
             &report);
    if (common.fail_on_overflow) LookInside(model, fixed_model, *samples, &progress, &report);
    options.per_sample = options.fixed_ranges = false;  // Nothing else that runs here shows them.
    options.ranges = nullptr;                           // What is widened may be at another opset.
    const bool right = report.check->Right();
    if (!widen.empty() && !report.check->fixed.right) WidenPlan(model, *samples, &progress, &report);
    if (!widen.empty() && report.check->fixed.right && !right)
      report.warnings.push_back(fmt::format("{} is as it was: the emulation finds nothing to widen", widen));
    if (!narrow.empty() && right) NarrowPlan(model, *samples, &progress, &report);
    report.seconds = Since(start);
    WriteReportFile(report, {model, ranges ? &*ranges : nullptr, common.threshold, nullptr, &fixed_model},
                    common);
    return Finish(report, common, right ? ExitCode::kOk : ExitCode::kNotRight);
  }

  /// The check goes by what this finds, and runs the original no second time where it kept outputs.
  void ScanOriginal(const Model& model, const SampleSource& samples, KeptOutputs* keep, Progress* progress) {
    ScanOptions scan;
    scan.threads = common.threads;
    scan.low_memory = common.low_memory;
    scan.allow_nan = common.allow_nan;
    scan.custom_op_libraries = options.custom_op_libraries;
    scan.keep_outputs = keep;
    ranges = Scan(model, samples, scan, progress);
    options.ranges = &*ranges;
  }

  /// What overflows in the fixed model. Only where something isn't finite it takes a scan of the original to
  /// tell what is new.
  void LookInside(const Model& model, const Model& fixed_model, const SampleSource& samples,
                  Progress* progress, Report* report) {
    const RangeTable& found = *report->check->fixed_ranges;
    if (!ranges && AnyNotFinite(found)) ScanOriginal(model, samples, nullptr, progress);
    AddFixedOverflow(fixed_model, OverflowOfFixed(found, options.ranges, common.threshold), common.threshold,
                     report);
  }

  void WidenPlan(const Model& model, const SampleSource& samples, Progress* progress, Report* report) {
    Plan plan = ReadPlan(widen);
    const std::optional<Model> raised = Raised(model, plan, widen);
    Widening step = Widen(raised ? *raised : model, &plan, samples, *report->check, options, progress);
    if (!step.possible) {
      report->warnings.push_back(fmt::format("{} has no FP16 node left to widen", widen));
      return;
    }
    WriteFileAtomically(widen, ToJson(plan));
    report->warnings.push_back(
        fmt::format("{} has {} more nodes in FP32: apply it and check again", widen, step.nodes.size()));
    report->widenings.push_back(std::move(step));
  }

  void NarrowPlan(const Model& model, const SampleSource& samples, Progress* progress, Report* report) {
    Plan plan = ReadPlan(narrow);
    const std::optional<Model> raised = Raised(model, plan, narrow);
    report->narrowing =
        Narrow(raised ? *raised : model, &plan, samples, *report->check, options, std::nullopt, progress);
    if (report->narrowing.nodes.empty()) return;
    WriteFileAtomically(narrow, ToJson(plan));
    report->warnings.push_back(
        fmt::format("{} has {} fewer nodes in FP32: apply it", narrow, report->narrowing.nodes.size()));
  }

  /// The model that the plan is for, where the plan converts it first; it is then held against the original.
  std::optional<Model> Raised(const Model& model, const Plan& plan, const std::string& path) {
    if (!plan.opset) return std::nullopt;
    options.reference = &model;
    return LoadModelFor(path, plan.model_sha256, plan.opset, plan.lift_clamps, common);
  }
};

}  // namespace

Command SetUpFix(CLI::App* app) {
  auto command = std::make_shared<FixCommand>();
  AddModel(app, &command->common);
  AddData(app, &command->common);
  AddRandomShapes(app, &command->common);
  AddAllowNan(app, &command->common);
  AddOpset(app, &command->common);
  AddLiftClamps(app, &command->common);
  AddOutput(app, &command->common, "FIXED.onnx", "The fixed model", true);
  app->add_option("--save-plan", command->save_plan, "Also write the plan")->type_name("PLAN.json");
  app->add_option("--save-ranges", command->save_ranges, "Also write the ranges of the scan")
      ->type_name("RANGES.json");
  app->add_option("--holdout", command->options.holdout,
                  "Share of the samples kept out of calibration and checked at the end")
      ->type_name("SHARE")
      ->check(ShareUpTo(0.99));
  app->add_option("--budget", command->options.budget,
                  "Seconds for taking nodes back to FP16 that widening needn't have taken; 0 for none "
                  "(default: a fixed number of steps)")
      ->type_name("SECONDS")
      ->check(FromZero());
  app->add_option("--save-outputs", command->options.check.save_outputs,
                  "Folder for the outputs of FP32, plain FP16 and the fixed model")
      ->type_name("FOLDER");
  AddNoFindings(app, &command->no_findings);
  AddPlanOptions(app, &command->common, &command->options.plan);
  AddTolerance(app, &command->options.check.tolerance);
  AddSeed(app, &command->options.check.seed);
  AddProvider(
      app, &command->provider,
      "cuda: scan on the GPU, and run the 16-bit models there too, in real FP16, beside the emulation");
  AddRuntime(app, &command->common);
  AddLowMemory(app, &command->common);
  app->add_flag("--runs-on-cpu", command->options.runs_on_cpu,
                "Keep nodes in FP32 that ONNX Runtime's CPU provider can't load or run in 16 bits");
  AddNoCpuRun(app, &command->options.check.on_cpu);
  AddResult(app, &command->common);
  AddReportFile(app, &command->common);
  AddFailOnVerdict(app, &command->common, "overflow: exit with 1 when anything overflows");
  return [command] { return command->Run(); };
}

Command SetUpCheck(CLI::App* app) {
  auto command = std::make_shared<CheckCommand>();
  AddModel(app, &command->common);
  app->add_option("FIXED", command->fixed, "The model to check, with FP16 or BF16 tensors")
      ->required()
      ->type_name("FIXED.onnx");
  AddData(app, &command->common);
  AddRandomShapes(app, &command->common);
  AddAllowNan(app, &command->common);
  AddLiftClamps(app, &command->common);
  app->add_option("--widen", command->widen,
                  "When it is not right, move the nodes that hurt most to FP32 in this plan")
      ->type_name("PLAN.json");
  app->add_option("--narrow", command->narrow,
                  "When it is right, take nodes back to FP16 in this plan that widening needn't have taken")
      ->type_name("PLAN.json");
  app->add_option("--save-outputs", command->options.save_outputs,
                  "Folder for the outputs of FP32, plain FP16 and the fixed model")
      ->type_name("FOLDER");
  AddTolerance(app, &command->options.tolerance);
  AddSeed(app, &command->options.seed);
  AddProvider(app, &command->options.provider,
              "cuda: run the 16-bit models on the GPU too, in real FP16, beside the emulation");
  AddRuntime(app, &command->common);
  AddLowMemory(app, &command->common);
  AddNoCpuRun(app, &command->options.on_cpu);
  AddResult(app, &command->common);
  AddFailOnVerdict(
      app, &command->common,
      "overflow: exit with 1 also when tensors that the fixed model stores in FP16 overflow: past "
      "--threshold, or not finite where FP32 is");
  AddJudgedThreshold(app, &command->common);
  AddReportFile(app, &command->common);
  return [command] { return command->Run(); };
}

}  // namespace halfsafe
