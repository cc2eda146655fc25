#include "report/diff.h"

#include "cli/options.h"

namespace halfsafe {
namespace {

struct DiffCommand {
  CommonOptions common;
  std::string before, after;

  ExitCode Run() {
    RequireOutputs(&common, {}, {before, after});
    const RangesDiff diff = Diff(ReadRanges(before), ReadRanges(after), {common.threshold});
    Say(common, diff);
    return common.fail_on_overflow && diff.NewOverflow() ? ExitCode::kNotRight : ExitCode::kOk;
  }
};

}  // namespace

Command SetUpDiff(CLI::App* app) {
  auto command = std::make_shared<DiffCommand>();
  app->add_option("BEFORE", command->before, "Ranges of the scan to compare with")
      ->required()
      ->type_name("RANGES.json");
  app->add_option("AFTER", command->after,
                  "Ranges of the other scan: of another checkpoint, or other samples")
      ->required()
      ->type_name("RANGES.json");
  AddJudgedThreshold(app, &command->common);
  AddResult(app, &command->common);
  AddFailOn(app, &command->common, "overflow: exit with 1 when a tensor overflows that didn't before");
  return [command] { return command->Run(); };
}

}  // namespace halfsafe
