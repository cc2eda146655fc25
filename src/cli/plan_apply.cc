#include <fmt/format.h>

#include <cstdio>

#include "base/file.h"
#include "cli/options.h"
#include "halfsafe/engine.h"

namespace halfsafe {
namespace {

struct MergeCommand {
  CommonOptions common;
  std::vector<std::string> inputs;

  ExitCode Run() {
    RequireOutputs(&common);  // It may be one of the inputs: ranges that grow.
    std::vector<RangeTable> tables;
    for (const std::string& path : inputs) tables.push_back(ReadRanges(path));
    WriteFileAtomically(common.output, ToJson(MergeRanges(tables)));
    return ExitCode::kOk;
  }
};

struct PlanCommand {
  CommonOptions common;
  PlanOptions options;
  std::string ranges_path, explain, export_form;

  ExitCode Run() {
    const bool asked = !explain.empty() || !export_form.empty();
    if (asked && common.json_on_stdout)
      throw BadUsage("--explain and --export write to standard output, and so does --json -");
    RequireOutputs(&common, {}, {ranges_path});
    const RangeTable ranges = ReadRanges(ranges_path);
    const Model model =
        LoadModelFor(ranges_path, ranges.model_sha256, ranges.opset, ranges.lift_clamps, common);
    options.threshold = common.threshold;
    options.latencies = ReadLatencies(common.latencies);
    const Plan plan = MakePlan(model, ranges, options);
    if (!common.output.empty()) WriteFileAtomically(common.output, ToJson(plan));
    if (!explain.empty()) Print(stdout, Explain(model, ranges, plan, explain));
    if (export_form == "names") {
      for (const std::string& name : OverflowingTensors(ranges, common.threshold)) Write(stdout, name + "\n");
    } else if (!export_form.empty()) {
      Export(model, plan);
    }
    common.quiet = common.quiet || asked;  // What was asked for takes the place of the text.
    Report report = StartReport("plan", model);
    AddRanges(model, ranges, common.threshold, &report);
    AddPlan(model, &ranges, plan, &report);
    if (!common.report.empty()) {
      const Model planned = Apply(model, plan);
      WriteReportFile(report, {model, &ranges, common.threshold, &plan, &planned}, common);
    }
    return Finish(report, common, ExitCode::kOk);
  }

  void Export(const Model& model, const Plan& plan) const {
    const WeaklyTyped weak = ApplyWeakly(model, plan);
    const ToolArguments arguments =
        export_form == "trtexec" ? TrtexecArguments(weak) : PolygraphyScript(weak);
    Write(stdout, arguments.text + "\n");
    for (const std::string& note : arguments.notes) PrintNote("note", note);
    if (!plan.tensors.empty() || !plan.constants.empty() || plan.opset) {
      PrintNote(
          "note",
          "the plan changes values too: this belongs to the model that halfsafe apply --typing weak writes");
    }
  }
};

struct ApplyCommand {
  CommonOptions common;
  std::string plan_path;
  Typing typing = Typing::kStrong;
  bool accumulate_fp32 = false;
  bool no_findings = false;

  ExitCode Run() {
    if (accumulate_fp32 && typing == Typing::kWeak)
      throw BadUsage("--accumulate fp32 writes Casts, which --typing weak leaves out");
    RequireOutputs(&common, {}, {plan_path});
    const Plan plan = ReadPlan(plan_path);
    const Model model = LoadModelFor(plan_path, plan.model_sha256, plan.opset, plan.lift_clamps, common);
    Model fixed = typing == Typing::kWeak ? ApplyWeakly(model, plan).model : Apply(model, plan);
    if (accumulate_fp32) fixed = AccumulateInFp32(fixed);
    if (no_findings) fixed = WithoutFindings(fixed);
    fixed.Save(common.output);
    Report report = StartReport("apply", model);
    AddPlan(model, nullptr, plan, &report);
    report.warnings.clear();
    report.nodes = 0;  // The plan's table is `plan`'s to print.
    AddFixed(fixed, common.output, &report);
    WarnOfCpu(fixed, std::nullopt, &report);
    return Finish(report, common, ExitCode::kOk);
  }
};

}  // namespace

Command SetUpMerge(CLI::App* app) {
  auto command = std::make_shared<MergeCommand>();
  app->add_option("RANGES", command->inputs, "Ranges of one model on different samples")
      ->required()
      ->type_name("RANGES.json");
  AddOutput(app, &command->common, "RANGES.json", "The joined ranges", true);
  return [command] { return command->Run(); };
}

Command SetUpPlan(CLI::App* app) {
  auto command = std::make_shared<PlanCommand>();
  AddModel(app, &command->common);
  app->add_option("--ranges", command->ranges_path, "What scan wrote")->required()->type_name("RANGES.json");
  AddOutput(app, &command->common, "PLAN.json", "The plan", false);
  auto* explain =
      app->add_option("--explain", command->explain, "Say everything about one node, and nothing else")
          ->type_name("NODE");
  OneOf(app, "--export", &command->export_form,
        "Print, and nothing else: names, the overflowing tensors, one a line; trtexec, arguments "
        "that pin layers; polygraphy, a script that does",
        {{"names", "names"}, {"trtexec", "trtexec"}, {"polygraphy", "polygraphy"}})
      ->excludes(explain);
  AddPlanOptions(app, &command->common, &command->options);
  AddCustomOps(app, &command->common);
  AddResult(app, &command->common);
  AddReportFile(app, &command->common);
  AddFailOn(app, &command->common);
  return [command] { return command->Run(); };
}

Command SetUpApply(CLI::App* app) {
  auto command = std::make_shared<ApplyCommand>();
  AddModel(app, &command->common);
  app->add_option("--plan", command->plan_path, "The plan")->required()->type_name("PLAN.json");
  AddOutput(app, &command->common, "FIXED.onnx", "The fixed model", true);
  AddTyping(
      app, &command->typing,
      "strong (default): with the plan's types. weak: FP32, with what the plan changes in values, for a "
      "runtime that takes types as constraints");
  AddAccumulation(app, &command->accumulate_fp32);
  AddNoFindings(app, &command->no_findings);
  AddResult(app, &command->common);
  AddCustomOps(app, &command->common);
  return [command] { return command->Run(); };
}

}  // namespace halfsafe
