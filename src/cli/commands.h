#pragma once

#include <CLI/CLI.hpp>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "halfsafe/error.h"

namespace halfsafe {

/// What a command writes, and the option that says so.
struct OutputPath {
  const char* option;
  std::string path;            ///< Empty where the option isn't given.
  bool may_be_folder = false;  ///< Then it is left to the stage to try it.
};

/// Options that several commands share.
struct CommonOptions {
  std::string model;
  std::vector<std::string> data;
  std::string output;
  std::string json;  ///< A file; empty: none.
  bool json_on_stdout = false;
  std::string report;  ///< A file; empty: none.
  bool quiet = false;
  int threads = 0;
  bool low_memory = false;
  bool allow_nan = false;
  std::vector<std::string> custom_ops;
  bool leading_axis = false;
  uint64_t random = 0;
  std::string shapes;  ///< Of random samples.
  std::optional<int> opset;
  bool lift_clamps = false;
  bool fail_on_overflow = false;
  bool fail_on_little_gained = false;
  double threshold = 10000.0;
  std::string latencies;
  std::vector<OutputPath> outputs;  ///< All that the command writes: see RequireOutputs.
};

/// A command line and what it does.
struct Example {
  const char* line;
  const char* what;
};

/// One command: adds its options to `app` and returns what to run once they are parsed.
using Command = std::function<ExitCode()>;
struct CommandEntry {
  const char* name;
  const char* summary;
  Command (*setup)(CLI::App* app);
  std::vector<Example> examples;
};

/// All commands, in the order in which --help lists them.
std::vector<CommandEntry> Commands();

Command SetUpFix(CLI::App* app);
Command SetUpScan(CLI::App* app);
Command SetUpMerge(CLI::App* app);
Command SetUpDiff(CLI::App* app);
Command SetUpPlan(CLI::App* app);
Command SetUpApply(CLI::App* app);
Command SetUpCheck(CLI::App* app);
Command SetUpData(CLI::App* app);
Command SetUpMark(CLI::App* app);
Command SetUpInspect(CLI::App* app);
Command SetUpBuild(CLI::App* app);
Command SetUpEngine(CLI::App* app);
Command SetUpBench(CLI::App* app);
Command SetUpCompletion(CLI::App* app);
Command SetUpMan(CLI::App* app);

}  // namespace halfsafe
