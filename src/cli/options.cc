#include "cli/options.h"

#include <fmt/format.h>

#include <cstdio>

#include "base/file.h"
#include "cli/console.h"

namespace halfsafe {

void AddModel(CLI::App* app, CommonOptions* options) {
  app->add_option("MODEL", options->model, "The FP32 ONNX model")->required();
}

void AddData(CLI::App* app, CommonOptions* options) {
  app->add_option("--data", options->data,
                  "Real samples: Polygraphy JSON, .npz, ONNX test data, or folders of these or of .npy named "
                  "after inputs");
  app->add_flag("--leading-axis", options->leading_axis, "An .npz holds many samples along its first axis");
  app->add_option("--random", options->random,
                  "N random samples in place of --data, for a first look: random data hides overflow");
}

void AddOpset(CLI::App* app, CommonOptions* options) {
  app->add_option_function<int>(
      "--opset", [options](int opset) { options->opset = opset; },
      "Convert the model to this opset first (Conv and others have BF16 from 22 on)");
}

void AddOutput(CLI::App* app, CommonOptions* options, const std::string& what, bool required) {
  auto* option = app->add_option("-o,--output", options->output, what);
  if (required) option->required();
}

void AddResult(CLI::App* app, CommonOptions* options) {
  app->add_option("--json", options->json, "Also write the result here, as JSON");
  app->add_flag("-q,--quiet", options->quiet, "Print nothing but errors");
}

void AddCustomOps(CLI::App* app, CommonOptions* options) {
  app->add_option("--custom-ops", options->custom_ops, "A library of custom operators for ONNX Runtime");
}

void AddRuntime(CLI::App* app, CommonOptions* options) {
  app->add_option("--threads", options->threads, "Threads to run with (default: one per core)")
      ->check(CLI::Range(0, 4096));
  AddCustomOps(app, options);
}

void AddLowMemory(CLI::App* app, CommonOptions* options) {
  app->add_flag("--low-memory", options->low_memory,
                "Hold weights once and one model at a time, slower: what models past 512 MiB get anyway");
}

void AddProvider(CLI::App* app, Provider* provider, const std::string& what) {
  app->add_option("--provider", *provider, what)
      ->transform(CLI::CheckedTransformer(
          std::map<std::string, Provider>{{"cpu", Provider::kCpu}, {"cuda", Provider::kCuda}},
          CLI::ignore_case));
}

void AddPlanOptions(CLI::App* app, CommonOptions* options, PlanOptions* plan) {
  app->add_option("--threshold", options->threshold, "Tensors past this stay FP32 (default 10000)")
      ->check(CLI::PositiveNumber);
  app->add_option_function<std::string>(
         "--io", [plan](const std::string& value) { plan->io_fp16 = value == "fp16"; },
         "Types of inputs and outputs: keep (default) or fp16")
      ->check(CLI::IsMember({"keep", "fp16"}));
  app->add_option_function<std::string>(
         "--accumulate", [plan](const std::string& value) { plan->accumulate_fp16 = value == "fp16"; },
         "What the runtime adds up in: fp32 (default), or fp16, which TensorRT may pick: partial sums then "
         "count")
      ->check(CLI::IsMember({"fp32", "fp16"}));
  app->add_option(
         "--repair", plan->repair,
         "What to do about overflow: rescale by powers of two (FP32 where that fails), fp32, bf16, or "
         "auto (default): the cheapest of these, place by place")
      ->transform(CLI::CheckedTransformer(std::map<std::string, Repair>{{"auto", Repair::kAuto},
                                                                        {"rescale", Repair::kRescale},
                                                                        {"fp32", Repair::kFp32},
                                                                        {"bf16", Repair::kBf16}},
                                          CLI::ignore_case));
  app->add_option("--margin", plan->margin,
                  "What rescaled tensors stay within where they can (default 2048); never past the threshold")
      ->check(CLI::PositiveNumber);
  app->add_option("--cost", options->latencies,
                  "Latencies of the nodes on your GPU, in place of estimates: a halfsafe-latencies file");
  app->add_option("--keep", plan->keep_nodes, "Nodes whose name matches this regular expression stay FP32");
  app->add_option("--keep-op", plan->keep_ops, "Operators of this type stay FP32");
}

void AddAccumulation(CLI::App* app, bool* fp32) {
  app->add_option_function<std::string>(
         "--accumulate", [fp32](const std::string& value) { *fp32 = value == "fp32"; },
         "fp32: write 16-bit matrix products so that a strongly typed runtime sums them in FP32 (default: "
         "runtime, which leaves it the choice)")
      ->check(CLI::IsMember({"fp32", "runtime"}));
}

void AddTolerance(CLI::App* app, Tolerance* tolerance) {
  app->add_option("--rel-l2", tolerance->rel_l2,
                  "Largest relative L2 error of an output on any sample (default 0.01)")
      ->check(CLI::NonNegativeNumber);
  app->add_option("--rtol", tolerance->rtol,
                  "Element-wise: |y - ref| <= atol + rtol * |ref| (off by default)")
      ->check(CLI::NonNegativeNumber);
  app->add_option("--atol", tolerance->atol, "See --rtol")->check(CLI::NonNegativeNumber);
  app->add_option("--max-flips", tolerance->max_flips,
                  "Share of integer or bool elements that may differ (default 0)")
      ->check(CLI::Range(0.0, 1.0));
}

void AddNoFindings(CLI::App* app, bool* left_out) {
  app->add_flag("--no-findings", *left_out,
                "Leave out of the model's metadata why nodes are as they are: it names samples");
}

void AddFailOn(CLI::App* app, CommonOptions* options) {
  app->add_option("--fail-on", options->fail_on, "overflow: exit with 1 when anything overflows")
      ->check(CLI::IsMember({"overflow"}));
}

std::vector<std::filesystem::path> Paths(const std::vector<std::string>& names) {
  return {names.begin(), names.end()};
}

Model LoadModel(const std::string& path, const CommonOptions& options, std::optional<int> opset) {
  Model model = Model::Load(path);
  if (opset) model.RaiseOpset(*opset);
  CompleteTypes(&model, Paths(options.custom_ops));
  return model;
}

Model LoadModelFor(const std::string& file, const std::string& sha256, std::optional<int> opset,
                   const CommonOptions& options) {
  Model model = Model::Load(options.model);
  try {
    // Another model is for the stage to refuse.
    if (opset && model.sha256() == sha256) model.RaiseOpset(*opset);
  } catch (const Error& error) {
    throw BadInput(fmt::format("{}: \"opset\" is {}: {}", file, *opset, error.what()));
  }
  CompleteTypes(&model, Paths(options.custom_ops));
  return model;
}

std::unique_ptr<SampleSource> OpenData(const Model& model, const CommonOptions& options, Progress* progress) {
  if (options.data.empty() == (options.random == 0))
    throw BadUsage("give samples with --data PATH, or --random N for a first look");
  if (options.random > 0) {
    progress->Warn(
        "random data hides overflow: what real samples reach, noise often doesn't. Use --data for an answer "
        "that holds");
    return RandomSamples(options.random, model.Inputs());
  }
  return OpenSamples(Paths(options.data), model.Inputs(), {options.leading_axis});
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

ExitCode Finish(const Report& report, const CommonOptions& options, ExitCode otherwise) {
  if (!options.json.empty()) WriteFileAtomically(options.json, ToJson(report));
  if (!options.quiet) {
    fmt::print("{}", ToText(report, TerminalWidth(), UseColor()));
    std::fflush(stdout);
  }
  const bool overflow = !report.overflowing.empty() || !report.out_of_range_weights.empty();
  if (options.fail_on == "overflow" && overflow && otherwise == ExitCode::kOk) return ExitCode::kNotRight;
  return otherwise;
}

}  // namespace halfsafe
