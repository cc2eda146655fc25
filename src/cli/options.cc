#include "cli/options.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <functional>

#include "base/text.h"
#include "halfsafe/engine.h"
#include "report/html.h"

namespace halfsafe {
namespace {

CLI::Validator Number(const std::string& wanted, const std::function<bool(double)>& fits) {
  const auto check = [=](const std::string& text) {
    double value = 0.0;
    const bool good = CLI::detail::lexical_cast(text, value) && std::isfinite(value) && fits(value);
    return good ? std::string() : fmt::format("'{}' is not {}", text, wanted);
  };
  return {check, ""};
}

}  // namespace

CLI::Validator AboveZero() {
  return Number("a finite number above 0", [](double value) { return value > 0.0; });
}

CLI::Validator FromZero() {
  return Number("a finite number from 0 on", [](double value) { return value >= 0.0; });
}

CLI::Validator ShareUpTo(double most) {
  return Number(fmt::format("a share from 0 to {:g}", most),
                [most](double value) { return value >= 0.0 && value <= most; });
}

CLI::ValidationError NoSuchWord(const std::string& option, const std::string& text,
                                const std::vector<std::string>& words) {
  return CLI::ValidationError(option, fmt::format("there is no '{}', only {}{}", text, fmt::join(words, ", "),
                                                  DidYouMean(text, words)));
}

void AddModel(CLI::App* app, CommonOptions* options) {
  app->add_option("MODEL", options->model, "The ONNX model, in FP32 or 16 bits")
      ->required()
      ->type_name("MODEL.onnx");
}

void AddData(CLI::App* app, CommonOptions* options) {
  app->add_option("--data", options->data,
                  "Real samples: Polygraphy JSON, .npz, ONNX test data, or folders of these or of .npy named "
                  "after inputs")
      ->type_name("PATH");
  app->add_flag("--leading-axis", options->leading_axis, "An .npz holds many samples along its first axis");
  app->add_option("--random", options->random,
                  "N random samples in place of --data, for a first look: random data hides overflow")
      ->type_name("N");
}

void AddRandomShapes(CLI::App* app, CommonOptions* options) {
  app->add_option(
         "--shapes", options->shapes,
         "With --random: sizes of inputs with free dimensions, as in x=1x3x640x640,ids=1x16 (default: "
         "1 for each)")
      ->type_name("SHAPES");
}

void AddAllowNan(CLI::App* app, CommonOptions* options) {
  app->add_flag("--allow-nan", options->allow_nan,
                "Take samples with NaN, for models that mean something by it, as that a value is missing");
}

void AddOpset(CLI::App* app, CommonOptions* options) {
  app->add_option_function<int>(
         "--opset", [options](int opset) { options->opset = opset; },
         "Convert the model to this opset first (Conv and others have BF16 from 22 on)")
      ->type_name("N");
}

void AddLiftClamps(CLI::App* app, CommonOptions* options) {
  app->add_flag(
      "--lift-clamps", options->lift_clamps,
      "Leave out of a 16-bit model the clamps at +-65504 or +-64504 that its export put in to keep it "
      "finite");
}

void AddOutput(CLI::App* app, CommonOptions* options, const std::string& value, const std::string& what,
               bool required) {
  auto* option = app->add_option("-o,--output", options->output, what)->type_name(value);
  if (required) option->required();
}

void AddResult(CLI::App* app, CommonOptions* options) {
  app->add_option_function<std::string>(
         "--json",
         [options](const std::string& path) {
           options->json_on_stdout = path == "-";
           options->json = options->json_on_stdout ? "" : path;
         },
         "Also write the result here, as JSON; - is standard output, and the text goes to standard error")
      ->type_name("RESULT.json");
  app->add_flag("-q,--quiet", options->quiet, "Print nothing but errors");
}

void AddReportFile(CLI::App* app, CommonOptions* options) {
  app->add_option("--report", options->report, "Also write the result here, as a page for a browser")
      ->type_name("REPORT.html");
}

void AddCustomOps(CLI::App* app, CommonOptions* options) {
  app->add_option("--custom-ops", options->custom_ops, "A library of custom operators for ONNX Runtime")
      ->type_name("LIB.so");
}

void AddRuntime(CLI::App* app, CommonOptions* options) {
  app->add_option("--threads", options->threads, "Threads to run with (default: one per core)")
      ->type_name("N")
      ->check(CLI::Range(0, 4096));
  AddCustomOps(app, options);
}

void AddLowMemory(CLI::App* app, CommonOptions* options) {
  app->add_flag("--low-memory", options->low_memory,
                "Hold weights once and one model at a time, slower: what models past 512 MiB get anyway");
}

void AddNoCpuRun(CLI::App* app, bool* on_cpu) {
  app->add_flag("!--no-cpu-run", *on_cpu,
                "Don't try whether ONNX Runtime's CPU provider loads the result and runs it once");
}

void AddProvider(CLI::App* app, Provider* provider, const std::string& what) {
  OneOf(app, "--provider", provider, what, {{"cpu", Provider::kCpu}, {"cuda", Provider::kCuda}});
}

void AddPlanOptions(CLI::App* app, CommonOptions* options, PlanOptions* plan) {
  app->add_option("--threshold", options->threshold, "Tensors past this stay FP32 (default 10000)")
      ->type_name("X")
      ->check(AboveZero());
  OneOf(app, "--io", &plan->io,
        "Types of inputs and outputs: keep (default), fp16, or fp32 in place of a file's 16-bit types",
        {{"keep", Interface::kKeep}, {"fp16", Interface::kFp16}, {"fp32", Interface::kFp32}});
  OneOf(app, "--accumulate", &plan->accumulate_fp16,
        "What the runtime adds up in: fp32 (default), or fp16, which TensorRT may "
        "pick: partial sums then count",
        {{"fp32", false}, {"fp16", true}});
  OneOf(app, "--half", &plan->half,
        "The 16-bit type of the nodes: fp16 (default), or bf16, which holds what FP32 holds, in fewer bits",
        {{"fp16", Precision::kFp16}, {"bf16", Precision::kBf16}});
  app->add_flag(
      "--free-casts", plan->free_casts,
      "Count no cost for Casts, as for a compiler that fuses them: FP32 only where something speaks "
      "against 16 bits");
  OneOf(app, "--repair", &plan->repair,
        "What to do about overflow: rescale (default) by powers of two, and keep in FP32 what that doesn't "
        "help; "
        "fp32, keep it in FP32; or bf16, keep it in BF16 where the opset has it",
        {{"rescale", Repair::kRescale}, {"fp32", Repair::kFp32}, {"bf16", Repair::kBf16}});
  app->add_option("--margin", plan->margin,
                  "What rescaled tensors stay within where they can (default 2048); never past the threshold")
      ->type_name("X")
      ->check(AboveZero());
  app->add_option("--cost", options->latencies,
                  "Latencies of the nodes on your GPU, in place of estimates: a halfsafe-latencies file")
      ->type_name("LATENCIES.json");
  app->add_option("--keep", plan->keep_nodes, "Nodes whose name matches this regular expression stay FP32")
      ->type_name("REGEX");
  app->add_option("--keep-op", plan->keep_ops, "Operators of this type stay FP32")->type_name("TYPE");
}

void AddAccumulation(CLI::App* app, bool* fp32) {
  OneOf(app, "--accumulate", fp32,
        "fp32: write 16-bit matrix products so that a strongly typed runtime sums them "
        "in FP32 (default: runtime, which leaves it the choice)",
        {{"fp32", true}, {"runtime", false}});
}

void AddTolerance(CLI::App* app, Tolerance* tolerance) {
  app->add_option("--rel-l2", tolerance->rel_l2,
                  "Largest relative L2 error of an output on any sample (default 0.01)")
      ->type_name("X")
      ->check(FromZero());
  app->add_option("--rtol", tolerance->rtol,
                  "Element-wise: |y - ref| <= atol + rtol * |ref| (off by default)")
      ->type_name("X")
      ->check(FromZero());
  app->add_option("--atol", tolerance->atol, "See --rtol")->type_name("X")->check(FromZero());
  app->add_option("--max-flips", tolerance->max_flips,
                  "Share of integer or bool elements that may differ (default 0)")
      ->type_name("SHARE")
      ->check(ShareUpTo(1.0));
}

void AddSeed(CLI::App* app, uint64_t* seed) {
  app->add_option("--seed", *seed, "Of the roundings that are tried near the tolerance (default 0)")
      ->type_name("N");
}

void AddNoFindings(CLI::App* app, bool* left_out) {
  app->add_flag("--no-findings", *left_out,
                "Leave out of the model's metadata why nodes are as they are: it names samples");
}

void AddFailOn(CLI::App* app, CommonOptions* options, const std::string& what) {
  OneOf(app, "--fail-on", &options->fail_on_overflow, what, {{"overflow", true}});
}

void AddFailOnVerdict(CLI::App* app, CommonOptions* options, const std::string& overflow) {
  const std::vector<std::string> words = {"overflow", "little-gained"};
  const auto choose = [=](const std::vector<std::string>& texts) {
    for (const std::string& text : texts) {
      if (std::find(words.begin(), words.end(), text) == words.end())
        throw NoSuchWord("--fail-on", text, words);
      (text == "overflow" ? options->fail_on_overflow : options->fail_on_little_gained) = true;
    }
  };
  app->add_option_function<std::vector<std::string>>(
         "--fail-on", choose, overflow + "; little-gained: exit with 1 where 16 bits are hardly worth it")
      ->type_name(CLI::detail::join(words, "|"))
      ->allow_extra_args(false);
}

void AddJudgedThreshold(CLI::App* app, CommonOptions* options) {
  app->add_option("--threshold", options->threshold, "What counts as overflow: |x| past this (default 10000)")
      ->type_name("X")
      ->check(AboveZero());
}

std::vector<std::filesystem::path> Paths(const std::vector<std::string>& names) {
  return {names.begin(), names.end()};
}

namespace {

/// The model as it is in its file, in place of which no output may be written.
Model Opened(const std::string& path, const CommonOptions& options) {
  Model model = Model::Load(path);
  RequireApart(options, model);
  if (options.lift_clamps) model.LiftClamps();
  return model;
}

}  // namespace

Model LoadModel(const std::string& path, const CommonOptions& options, std::optional<int> opset) {
  Model model = Opened(path, options);
  if (opset) model.RaiseOpset(*opset);
  CompleteTypes(&model, Paths(options.custom_ops));
  return model;
}

Model LoadRunnable(const std::string& path, const CommonOptions& options, std::optional<int> opset) {
  Model model = Opened(path, options);
  if (opset) {
    model.RaiseOpset(*opset);
  } else {
    model.RaiseToRun();
  }
  CompleteTypes(&model, Paths(options.custom_ops));
  return model;
}

Model LoadModelFor(const std::string& file, const std::string& sha256, std::optional<int> opset,
                   bool lift_clamps, const CommonOptions& options) {
  Model model = Opened(options.model, options);
  if (lift_clamps) model.LiftClamps();
  try {
    // Another model is for the stage to refuse.
    if (opset && model.sha256() == sha256) model.RaiseOpset(*opset);
  } catch (const Error& error) {
    throw BadInput(fmt::format("{}: \"opset\" is {}: {}", file, *opset, error.what()));
  }
  CompleteTypes(&model, Paths(options.custom_ops));
  return model;
}

namespace {

/// The inputs with the shapes that --shapes gives.
std::vector<InputSpec> WithShapes(std::vector<InputSpec> inputs, const std::string& text) {
  for (const ShapeRange& range : text.empty() ? ShapeProfile() : ParseShapes(text)) {
    if (range.min != range.max)
      throw BadUsage(fmt::format("--shapes: {} has three shapes, expected one", range.input));
    GiveShape(range.input, range.opt, &inputs);
  }
  return inputs;
}

}  // namespace

std::unique_ptr<SampleSource> OpenData(const Model& model, const CommonOptions& options, Progress* progress) {
  if (options.data.empty() == (options.random == 0))
    throw BadUsage("give samples with --data PATH, or --random N for a first look");
  if (options.random > 0) {
    progress->Warn(
        "random data hides overflow: what real samples reach, noise often doesn't. Use --data for an answer "
        "that holds");
    return RandomSamples(options.random, WithShapes(model.Inputs(), options.shapes));
  }
  if (!options.shapes.empty()) throw BadUsage("--shapes is for --random: samples of --data have theirs");
  auto samples = OpenSamples(Paths(options.data), model.Inputs(), {options.leading_axis});
  RequireApart(options, *samples);
  return samples;
}

RangeTable ReadRanges(const std::string& path) {
  return RangesFromJson(MappedFile(path, "ranges").text(), path);
}
Plan ReadPlan(const std::string& path) { return PlanFromJson(MappedFile(path, "plan").text(), path); }

Latencies ReadLatencies(const std::string& path) {
  return path.empty() ? Latencies{} : LatenciesFromJson(MappedFile(path, "latencies").text(), path);
}

Report StartReport(const char* command, const Model& model) {
  Report report;
  report.command = command;
  report.model_path = model.path().string();
  report.model_sha256 = model.sha256();
  report.model_bytes = model.bytes();
  report.opset = model.raised_opset();
  return report;
}

void WriteReportFile(const Report& report, const GraphSources& sources, const CommonOptions& options) {
  if (!options.report.empty()) WriteFileAtomically(options.report, ToHtml(report, sources));
}

ExitCode Finish(const Report& report, const CommonOptions& options, ExitCode otherwise) {
  Say(options, report);
  const bool overflow = !report.overflowing.empty() || !report.out_of_range_weights.empty() ||
                        (report.fixed_overflowing && !report.fixed_overflowing->empty());
  const bool fails = (options.fail_on_overflow && overflow) ||
                     (options.fail_on_little_gained && report.verdict == "little-gained");
  if (fails && otherwise == ExitCode::kOk) return ExitCode::kNotRight;
  return otherwise;
}

}  // namespace halfsafe
