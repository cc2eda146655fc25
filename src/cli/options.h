#pragma once

#include <algorithm>
#include <memory>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "base/file.h"
#include "cli/commands.h"
#include "cli/console.h"
#include "cli/outputs.h"
#include "halfsafe/halfsafe.h"
#include "report/report.h"
#include "report/report_graph.h"

namespace halfsafe {

// Options that mean the same in every command that has them.
void AddModel(CLI::App* app, CommonOptions* options);
void AddData(CLI::App* app, CommonOptions* options);
void AddRandomShapes(CLI::App* app, CommonOptions* options);
void AddAllowNan(CLI::App* app, CommonOptions* options);
void AddOpset(CLI::App* app, CommonOptions* options);
void AddLiftClamps(CLI::App* app, CommonOptions* options);
/// `value` is what --help calls the file: FIXED.onnx.
void AddOutput(CLI::App* app, CommonOptions* options, const std::string& value, const std::string& what,
               bool required);
void AddResult(CLI::App* app, CommonOptions* options);      ///< --json, --quiet
void AddReportFile(CLI::App* app, CommonOptions* options);  ///< --report
void AddCustomOps(CLI::App* app, CommonOptions* options);
void AddRuntime(CLI::App* app, CommonOptions* options);  ///< --threads, --custom-ops
void AddLowMemory(CLI::App* app, CommonOptions* options);
void AddNoCpuRun(CLI::App* app, bool* on_cpu);
void AddProvider(CLI::App* app, Provider* provider, const std::string& what);
void AddPlanOptions(CLI::App* app, CommonOptions* options, PlanOptions* plan);
void AddAccumulation(CLI::App* app, bool* fp32);  ///< --accumulate of written models
void AddBuildOptions(CLI::App* app, BuildOptions* build);
void AddPlugins(CLI::App* app, std::vector<std::filesystem::path>* plugins);
void AddBatch(CLI::App* app, int64_t* batch);
void AddTolerance(CLI::App* app, Tolerance* tolerance);
void AddSeed(CLI::App* app, uint64_t* seed);
void AddNoFindings(CLI::App* app, bool* left_out);
void AddFailOn(CLI::App* app, CommonOptions* options,
               const std::string& what = "overflow: exit with 1 when anything overflows");
/// As AddFailOn, for commands with a verdict.
void AddFailOnVerdict(CLI::App* app, CommonOptions* options, const std::string& overflow);
void AddJudgedThreshold(CLI::App* app, CommonOptions* options);  ///< --threshold, where nothing is planned.

// Checks of values that are numbers, and finite ones: "nan" would pass every comparison.
CLI::Validator AboveZero();
CLI::Validator FromZero();
CLI::Validator ShareUpTo(double most);

CLI::ValidationError NoSuchWord(const std::string& option, const std::string& text,
                                const std::vector<std::string>& words);

/// An option whose value is one of a few words, in either case.
template <typename Value>
CLI::Option* OneOf(CLI::App* app, const std::string& name, Value* value, const std::string& what,
                   const std::vector<std::pair<std::string, std::type_identity_t<Value>>>& choices) {
  std::vector<std::string> words;
  for (const auto& choice : choices) words.push_back(choice.first);
  const auto choose = [=](const std::string& text) {
    const std::string lower = CLI::detail::to_lower(text);
    const auto found = std::find(words.begin(), words.end(), lower);
    if (found == words.end()) throw NoSuchWord(name, text, words);
    *value = choices[static_cast<size_t>(found - words.begin())].second;
  };
  return app->add_option_function<std::string>(name, choose, what)->type_name(CLI::detail::join(words, "|"));
}

/// --typing weak|strong
template <typename Value>
void AddTyping(CLI::App* app, Value* typing, const std::string& what) {
  OneOf(app, "--typing", typing, what, {{"weak", Typing::kWeak}, {"strong", Typing::kStrong}});
}

/// Loads the model, raises it to `opset` where one is given, and completes its types.
Model LoadModel(const std::string& path, const CommonOptions& options,
                std::optional<int> opset = std::nullopt);
/// The same for a model that is to be run: one of opset 6, which ONNX Runtime has few kernels for, becomes
/// one of opset 7 where it can.
Model LoadRunnable(const std::string& path, const CommonOptions& options,
                   std::optional<int> opset = std::nullopt);
/// The model that `file`, ranges or a plan, was made for: it holds `sha256`, `opset` and `lift_clamps`.
Model LoadModelFor(const std::string& file, const std::string& sha256, std::optional<int> opset,
                   bool lift_clamps, const CommonOptions& options);
/// The samples that --data or --random name, for this model.
std::unique_ptr<SampleSource> OpenData(const Model& model, const CommonOptions& options, Progress* progress);
std::vector<std::filesystem::path> Paths(const std::vector<std::string>& names);
RangeTable ReadRanges(const std::string& path);
Plan ReadPlan(const std::string& path);
Latencies ReadLatencies(const std::string& path);  ///< Empty without a path.

/// Shows what a command found: as JSON where --json asks for it, and as text unless --quiet. With JSON on
/// standard output the text goes to standard error.
template <typename Result>
void Say(const CommonOptions& options, const Result& result) {
  if (!options.json.empty()) WriteFileAtomically(options.json, ToJson(result));
  if (options.json_on_stdout) Write(stdout, ToJson(result));
  if (options.quiet) return;
  const Screen screen = ScreenOf(options.json_on_stdout ? stderr : stdout);
  Print(screen.stream, ToText(result, screen.width, screen.color));
}

/// A report with the model's part filled in.
Report StartReport(const char* command, const Model& model);
/// Writes --report, where it is asked for. Call before Finish.
void WriteReportFile(const Report& report, const GraphSources& sources, const CommonOptions& options);
/// Prints the report, writes --json, and returns `otherwise` unless --fail-on applies.
ExitCode Finish(const Report& report, const CommonOptions& options, ExitCode otherwise);

}  // namespace halfsafe
