#include <fmt/format.h>

#include <map>

#include "cli/options.h"
#include "report/inspect.h"

namespace halfsafe {
namespace {

struct DataCommand {
  CommonOptions common;
  std::string output;

  ExitCode Run() {
    RequireOutputs(&common, {{"-o", output, true}});
    // With a model the K-th input_K.pb gets its input's name.
    const std::vector<InputSpec> inputs =
        common.model.empty() ? std::vector<InputSpec>() : Model::Load(common.model).Inputs();
    const auto samples = OpenSamples(Paths(common.data), inputs, {common.leading_axis});
    RequireApart(common, *samples);
    WriteSamples(*samples, output);
    return ExitCode::kOk;
  }
};

struct MarkCommand {
  CommonOptions common;
  std::string pattern = ".*";

  ExitCode Run() {
    RequireOutputs(&common);
    MarkOutputs(LoadModel(common.model, common), pattern).Save(common.output);
    return ExitCode::kOk;
  }
};

struct InspectCommand {
  CommonOptions common;

  ExitCode Run() {
    RequireOutputs(&common);
    const Model model = LoadModel(common.model, common);
    const Inspection inspection = Inspect(model);
    Say(common, inspection);
    const bool overflow = !inspection.overflowing_weights.empty() || !inspection.overflowing_folds.empty();
    return common.fail_on_overflow && overflow ? ExitCode::kNotRight : ExitCode::kOk;
  }
};

}  // namespace

Command SetUpData(CLI::App* app) {
  auto command = std::make_shared<DataCommand>();
  app->add_option("PATH", command->common.data, "Samples in any format")->required()->type_name("PATH");
  app->add_option("-o,--output", command->output,
                  "A .json file (Polygraphy's input format), or a folder for .npz files")
      ->required()
      ->type_name("PATH");
  app->add_option("--model", command->common.model,
                  "The model that the samples are for: names the inputs of ONNX test data")
      ->type_name("MODEL.onnx");
  app->add_flag("--leading-axis", command->common.leading_axis,
                "An .npz holds many samples along its first axis");
  return [command] { return command->Run(); };
}

Command SetUpMark(CLI::App* app) {
  auto command = std::make_shared<MarkCommand>();
  AddModel(app, &command->common);
  AddOutput(app, &command->common, "ALL.onnx", "The model with more outputs", true);
  app->add_option("--tensors", command->pattern, "Only tensors whose name matches this regular expression")
      ->type_name("REGEX");
  AddCustomOps(app, &command->common);
  return [command] { return command->Run(); };
}

Command SetUpInspect(CLI::App* app) {
  auto command = std::make_shared<InspectCommand>();
  AddModel(app, &command->common);
  AddResult(app, &command->common);
  AddFailOn(app, &command->common);
  AddCustomOps(app, &command->common);
  return [command] { return command->Run(); };
}

}  // namespace halfsafe
