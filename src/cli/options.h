#pragma once

#include <memory>
#include <string>

#include "cli/commands.h"
#include "halfsafe/halfsafe.h"
#include "report/report.h"

namespace halfsafe {

// Options that mean the same in every command that has them.
void AddModel(CLI::App* app, CommonOptions* options);
void AddData(CLI::App* app, CommonOptions* options);
void AddOpset(CLI::App* app, CommonOptions* options);
void AddOutput(CLI::App* app, CommonOptions* options, const std::string& what, bool required);
void AddResult(CLI::App* app, CommonOptions* options);  ///< --json, --quiet
void AddCustomOps(CLI::App* app, CommonOptions* options);
void AddRuntime(CLI::App* app, CommonOptions* options);  ///< --threads, --custom-ops
void AddLowMemory(CLI::App* app, CommonOptions* options);
void AddProvider(CLI::App* app, Provider* provider, const std::string& what);
void AddPlanOptions(CLI::App* app, CommonOptions* options, PlanOptions* plan);
void AddAccumulation(CLI::App* app, bool* fp32);  ///< --accumulate of written models
void AddBuildOptions(CLI::App* app, BuildOptions* build);
void AddPlugins(CLI::App* app, std::vector<std::filesystem::path>* plugins);
void AddBatch(CLI::App* app, int64_t* batch);
void AddTolerance(CLI::App* app, Tolerance* tolerance);
void AddNoFindings(CLI::App* app, bool* left_out);
void AddFailOn(CLI::App* app, CommonOptions* options);

/// --typing weak|strong
template <typename Value>
void AddTyping(CLI::App* app, Value* typing, const std::string& what) {
  app->add_option("--typing", *typing, what)
      ->transform(CLI::CheckedTransformer(
          std::map<std::string, Typing>{{"weak", Typing::kWeak}, {"strong", Typing::kStrong}},
          CLI::ignore_case));
}

/// Loads the model, raises it to `opset` where one is given, and completes its types.
Model LoadModel(const std::string& path, const CommonOptions& options,
                std::optional<int> opset = std::nullopt);
/// The model that `file`, ranges or a plan, was made for: it holds `sha256` and `opset`.
Model LoadModelFor(const std::string& file, const std::string& sha256, std::optional<int> opset,
                   const CommonOptions& options);
/// The samples that --data or --random name, for this model.
std::unique_ptr<SampleSource> OpenData(const Model& model, const CommonOptions& options, Progress* progress);
std::vector<std::filesystem::path> Paths(const std::vector<std::string>& names);
RangeTable ReadRanges(const std::string& path);
Plan ReadPlan(const std::string& path);
Latencies ReadLatencies(const std::string& path);  ///< Empty without a path.

/// A report with the model's part filled in.
Report StartReport(const char* command, const Model& model);
/// Prints the report, writes --json, and returns `otherwise` unless --fail-on overflow applies.
ExitCode Finish(const Report& report, const CommonOptions& options, ExitCode otherwise);

}  // namespace halfsafe
