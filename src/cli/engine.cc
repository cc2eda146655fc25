#include "halfsafe/engine.h"

#include <fmt/format.h>

#include "base/file.h"
#include "cli/options.h"
#include "report/engine.h"

namespace halfsafe {
namespace {

struct EngineCommand {
  CommonOptions common;
  std::string plan_path;
  BuildOptions build;
  Tolerance tolerance;
  int64_t batch = 1;
  bool raw = false;
  bool trace = false;

  ExitCode Run() {
    RequireOutputs(&common, {}, {plan_path});
    if (trace) return Trace();
    const std::string& file = common.model;
    const std::string inspected = Inspected();
    if (raw) {
      Write(stdout, inspected);
      return ExitCode::kOk;
    }
    std::optional<Plan> plan;
    if (!plan_path.empty()) plan = ReadPlan(plan_path);
    const EngineReport report = CompareLayers(LayersFromJson(inspected, file), plan ? &*plan : nullptr);
    if (plan && !report.judged && report.as_planned) throw Unjudged(report.layers);
    Say(common, report);
    return report.as_planned ? ExitCode::kOk : ExitCode::kNotRight;
  }

 private:
  ExitCode Trace() {
    ConsoleProgress progress(common.quiet);
    const std::optional<Plan> plan = plan_path.empty() ? std::nullopt : std::optional(ReadPlan(plan_path));
    const Model model =
        plan ? LoadModelFor(plan_path, plan->model_sha256, plan->opset, plan->lift_clamps, common)
             : LoadModel(common.model, common);
    const auto samples = OpenData(model, common, &progress);
    const auto repeated = RepeatSamples(*samples, model.Inputs(), batch);
    const TraceResult result =
        TraceEngine(model, plan ? &*plan : nullptr, *repeated, build, tolerance, &progress);
    Say(common, result);
    return result.first_nonfinite || result.first_bad ? ExitCode::kNotRight : ExitCode::kOk;
  }

  /// What TensorRT's inspector says: the file itself, or what it says of the engine in it. Engines never
  /// begin with a brace.
  std::string Inspected() const {
    const MappedFile mapped(common.model, "engine");
    const std::string_view text = mapped.text();
    const size_t begin = text.find_first_not_of(" \t\r\n");
    if (begin != std::string_view::npos && text[begin] == '{') return std::string(text);
    ConsoleProgress progress(common.quiet);
    return InspectEngine(mapped.bytes(), common.model, build.plugins, &progress);
  }

  /// Without types an engine can't be held against a plan.
  Error Unjudged(const EngineLayers& layers) const {
    return BadInput(
        layers.detailed
            ? fmt::format(
                  "{} has \"N/A\" for types, because no shapes were set: inspect the engine itself, or "
                  "through a context with shapes",
                  common.model)
            : fmt::format("{} names layers and says nothing of types: the engine was built without details; "
                          "build it with --profilingVerbosity=detailed (ProfilingVerbosity::kDETAILED)",
                          common.model));
  }
};

}  // namespace

Command SetUpEngine(CLI::App* app) {
  auto command = std::make_shared<EngineCommand>();
  app->add_option(
         "FILE", command->common.model,
         "An engine, or what TensorRT's inspector says of one, as JSON; with --trace the FP32 ONNX model")
      ->required()
      ->type_name("PATH");
  app->add_option("--plan", command->plan_path, "The plan that the engine was built for")
      ->type_name("PLAN.json");
  app->add_flag("--raw", command->raw, "Print what the inspector says, as it comes, and nothing else");
  app->add_flag("--trace", command->trace,
                "Build an engine that shows every tensor, and compare each with FP32 on --data");
  AddData(app, &command->common);
  AddBatch(app, &command->batch);
  AddBuildOptions(app, &command->build);
  AddTolerance(app, &command->tolerance);
  AddCustomOps(app, &command->common);
  AddResult(app, &command->common);
  return [command] { return command->Run(); };
}

}  // namespace halfsafe
