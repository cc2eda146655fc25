#include "cli/commands.h"

namespace halfsafe {

std::vector<CommandEntry> Commands() {
  return {
      {"fix", "Scan, plan, apply and check in one go: an FP16 model proved right on your samples", &SetUpFix},
      {"scan", "What every tensor does on the samples", &SetUpScan},
      {"merge", "Join scans of different samples", &SetUpMerge},
      {"plan", "What to do about it, as a file to read and edit", &SetUpPlan},
      {"apply", "Write the model that a plan describes", &SetUpApply},
      {"check", "Is a fixed model right, on these samples?", &SetUpCheck},
      {"data", "Convert samples between formats", &SetUpData},
      {"mark", "Make every tensor an output", &SetUpMark},
      {"inspect", "Inputs, outputs, operators, weights out of range", &SetUpInspect},
      {"build", "Build a TensorRT engine, with a plan's precisions", &SetUpBuild},
      {"engine", "What a TensorRT engine runs in, held against a plan; where it goes wrong", &SetUpEngine},
      {"bench", "Latency and error of TensorRT engines", &SetUpBench},
  };
}

}  // namespace halfsafe
