#include <fmt/format.h>

#include "base/file.h"
#include "base/text.h"
#include "cli/options.h"
#include "report/engine.h"

namespace halfsafe {

void AddBuildOptions(CLI::App* app, BuildOptions* build) {
  AddTyping(
      app, &build->typing,
      "Who picks the types: weak: TensorRT, within the plan's constraints (8.6 to 10.x); strong: the model "
      "(from 10). Default: strong from 10 on");
  app->add_option_function<std::vector<std::string>>(
         "--shapes",
         [build](const std::vector<std::string>& texts) {
           for (const std::string& text : texts) build->profiles.push_back(ParseShapes(text));
         },
         "One optimization profile: INPUT=MIN:OPT:MAX,... as in x=1x3x224x224:8x3x224x224:16x3x224x224; "
         "several "
         "may be given (default: what the samples need)")
      ->type_name("SHAPES");
  app->add_flag("--fp16", build->fp16, "Without a plan: FP16 wherever TensorRT likes");
  OneOf(app, "--precision-constraints", &build->obey_constraints,
        "obey (default): fail rather than run a pinned layer in FP16; prefer: try to",
        {{"obey", true}, {"prefer", false}});
  OneOf(app, "--tf32", &build->tf32, "on: FP32 products may be TF32, with 10 bits of mantissa (default off)",
        {{"on", true}, {"off", false}});
  AddAccumulation(app, &build->accumulate_fp32);
  app->add_option("--workspace", build->workspace, "Scratch memory, as in 1GiB (default: all the GPU has)")
      ->type_name("SIZE")
      ->transform(CLI::AsSizeValue(false));
  app->add_option("--opt-level", build->level, "How long TensorRT looks for kernels, 0 to 5 (default 3)")
      ->type_name("N")
      ->check(CLI::Range(0, 5));
  app->add_option("--timing-cache", build->timing_cache,
                  "A file of kernels' times, read where it exists and written: later builds are faster")
      ->type_name("PATH");
  app->add_flag("--version-compatible", build->version_compatible, "An engine that later TensorRTs load too");
  app->add_flag("--hardware-compatible", build->hardware_compatible, "An engine for any GPU from Ampere on");
  app->add_flag("--own-kernels", build->own_kernels, "Without cuBLAS and cuDNN, which then needn't be there");
  AddPlugins(app, &build->plugins);
}

void AddBatch(CLI::App* app, int64_t* batch) {
  app->add_option("--batch", *batch,
                  "Repeat each sample this often along the first axis of inputs where it is free (default 1)")
      ->type_name("N")
      ->check(CLI::PositiveNumber);
}

void AddPlugins(CLI::App* app, std::vector<std::filesystem::path>* plugins) {
  app->add_option("--plugin", *plugins, "A library of TensorRT plugins")->type_name("LIB.so");
}

namespace {

struct BuildCommand {
  CommonOptions common;
  BuildOptions options;
  std::string plan_path;
  int64_t batch = 1;
  bool parse_only = false;

  ExitCode Run() {
    if (!parse_only && common.output.empty()) throw BadUsage("-o is required, unless with --parse-only");
    RequireOutputs(&common, {{"--timing-cache", options.timing_cache.string(), true}}, {plan_path});
    ConsoleProgress progress(common.quiet);
    const std::optional<Plan> plan = plan_path.empty() ? std::nullopt : std::optional(ReadPlan(plan_path));
    const Model model =
        plan ? LoadModelFor(plan_path, plan->model_sha256, plan->opset, plan->lift_clamps, common)
             : LoadModel(common.model, common);
    const bool has_data = !common.data.empty() || common.random > 0;
    const auto samples = has_data ? OpenData(model, common, &progress) : nullptr;
    const auto repeated = has_data ? RepeatSamples(*samples, model.Inputs(), batch) : nullptr;
    const auto build = parse_only ? &ParseForEngine : &BuildEngine;
    const BuildResult result = build(model, plan ? &*plan : nullptr, repeated.get(), options, &progress);
    if (!parse_only) {
      AtomicFile file(common.output);
      file.Write(result.engine.data(), result.engine.size());
      file.Commit();
    }
    Say(common, result);
    return ExitCode::kOk;
  }
};

struct BenchCommand {
  CommonOptions common;
  BenchOptions options;
  std::vector<std::string> engines;
  std::string latencies;
  bool no_cuda_graph = false;

  ExitCode Run() {
    RequireOutputs(&common, {{"--save-latencies", latencies}}, engines);
    ConsoleProgress progress(common.quiet);
    const Model model = LoadModel(common.model, common);
    const auto samples = OpenData(model, common, &progress);
    options.inspect = !latencies.empty();
    options.threads = common.threads;
    options.custom_op_libraries = Paths(common.custom_ops);
    options.cuda_graph = !no_cuda_graph;
    std::vector<NamedEngine> files;
    for (const std::string& engine : engines) files.push_back(ReadEngine(engine));
    const BenchResult result = BenchEngines(model, files, *samples, options, &progress);
    Say(common, result);
    if (!latencies.empty()) SaveLatencies(MeasureLatencies(model, result));
    const bool right = std::all_of(result.engines.begin(), result.engines.end(),
                                   [](const EngineBench& engine) { return engine.errors.right; });
    return right ? ExitCode::kOk : ExitCode::kNotRight;
  }

  void SaveLatencies(const MeasuredLatencies& measured) const {
    if (!common.quiet) {
      for (const std::string& note : measured.notes) PrintNote("note", note);
    }
    if (measured.latencies.nodes.empty()) {
      throw BadInput(
          "no layer was measured in both FP16 and FP32, so there are no latencies to save: give an engine of "
          "the model in FP32 and one that was built with --fp16");
    }
    WriteFileAtomically(latencies, ToJson(measured.latencies));
  }

  /// NAME=FILE, or FILE, which is then the name too.
  static NamedEngine ReadEngine(const std::string& text) {
    const size_t equals = text.find('=');
    const bool named = equals != std::string::npos && !std::filesystem::exists(text);
    const MappedFile file(named ? text.substr(equals + 1) : text, "engine");
    return {named ? text.substr(0, equals) : std::filesystem::path(text).filename().string(),
            {file.bytes().begin(), file.bytes().end()}};
  }
};

}  // namespace

Command SetUpBuild(CLI::App* app) {
  auto command = std::make_shared<BuildCommand>();
  AddModel(app, &command->common);
  app->add_option("--plan", command->plan_path, "What plan wrote: which nodes may not run in FP16")
      ->type_name("PLAN.json");
  AddOutput(app, &command->common, "ENGINE", "The engine", false);
  AddData(app, &command->common);
  AddBatch(app, &command->batch);
  AddBuildOptions(app, &command->options);
  app->add_flag("--parse-only", command->parse_only, "Say what would be pinned, and build nothing");
  AddCustomOps(app, &command->common);
  AddResult(app, &command->common);
  return [command] { return command->Run(); };
}

Command SetUpBench(CLI::App* app) {
  auto command = std::make_shared<BenchCommand>();
  AddModel(app, &command->common);
  app->add_option("ENGINE", command->engines, "Engines of the model, as FILE or NAME=FILE")
      ->required()
      ->type_name("PATH");
  AddData(app, &command->common);
  AddBatch(app, &command->options.batch);
  app->add_option("--runs", command->options.runs, "Timed runs of each engine (default 200)")
      ->type_name("N")
      ->check(CLI::PositiveNumber);
  app->add_option("--warm-up", command->options.warm_up, "Runs before, and at least 0.3 s (default 20)")
      ->type_name("N")
      ->check(CLI::PositiveNumber);
  app->add_option("--save-latencies", command->latencies,
                  "What layers take in FP16 and in FP32, for --cost of plan and fix: needs engines of both")
      ->type_name("LATENCIES.json");
  app->add_flag("--no-cuda-graph", command->no_cuda_graph, "Don't time the engine as a CUDA graph too");
  AddTolerance(app, &command->options.tolerance);
  AddPlugins(app, &command->options.plugins);
  AddRuntime(app, &command->common);
  AddResult(app, &command->common);
  return [command] { return command->Run(); };
}

}  // namespace halfsafe
