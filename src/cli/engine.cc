#include "halfsafe/engine.h"

#include <fmt/format.h>

#include <cstdio>

#include "base/file.h"
#include "cli/console.h"
#include "cli/options.h"
#include "report/engine.h"

namespace halfsafe {
namespace {

struct EngineCommand {
  CommonOptions common;
  std::string file, plan_path;
  std::vector<std::string> plugins;
  bool raw = false;

  ExitCode Run() {
    RequireWritable(common.json);
    const std::string inspected = Inspected();
    if (raw) {
      fmt::print("{}", inspected);
      return ExitCode::kOk;
    }
    std::optional<Plan> plan;
    if (!plan_path.empty()) plan = ReadPlan(plan_path);
    const EngineReport report = CompareLayers(LayersFromJson(inspected, file), plan ? &*plan : nullptr);
    if (plan && !report.judged && report.as_planned) throw Unjudged(report.layers);
    if (!common.json.empty()) WriteFileAtomically(common.json, ToJson(report));
    if (!common.quiet) {
      fmt::print("{}", ToText(report, TerminalWidth(), UseColor()));
      std::fflush(stdout);
    }
    return report.as_planned ? ExitCode::kOk : ExitCode::kNotRight;
  }

 private:
  /// What TensorRT's inspector says: the file itself, or what it says of the engine in it. Engines never
  /// begin with a brace.
  std::string Inspected() const {
    const MappedFile mapped(file, "engine");
    const std::string_view text = mapped.text();
    const size_t begin = text.find_first_not_of(" \t\r\n");
    if (begin != std::string_view::npos && text[begin] == '{') return std::string(text);
    ConsoleProgress progress(common.quiet);
    return InspectEngine(mapped.bytes(), file, Paths(plugins), &progress);
  }

  /// Without types an engine can't be held against a plan.
  Error Unjudged(const EngineLayers& layers) const {
    return BadInput(
        layers.detailed
            ? fmt::format(
                  "{} has \"N/A\" for types, because no shapes were set: inspect the engine itself, or "
                  "through a context with shapes",
                  file)
            : fmt::format("{} names layers and says nothing of types: the engine was built without details; "
                          "build it with --profilingVerbosity=detailed (ProfilingVerbosity::kDETAILED)",
                          file));
  }
};

}  // namespace

Command SetUpEngine(CLI::App* app) {
  auto command = std::make_shared<EngineCommand>();
  app->add_option("FILE", command->file, "An engine, or what TensorRT's inspector says of one, as JSON")
      ->required();
  app->add_option("--plan", command->plan_path, "The plan that the engine was built for");
  app->add_flag("--raw", command->raw, "Print what the inspector says, as it comes, and nothing else");
  app->add_option("--plugins", command->plugins, "A library of plugins that the engine needs");
  AddResult(app, &command->common);
  return [command] { return command->Run(); };
}

}  // namespace halfsafe
