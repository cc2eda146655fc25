// What `halfsafe fix` does, stage by stage: fix_model MODEL.onnx SAMPLES FIXED.onnx
#include <halfsafe/halfsafe.h>

#include <iostream>
#include <memory>

int main(int argc, char** argv) {
  if (argc != 4) {
    std::cerr << "usage: fix_model MODEL.onnx SAMPLES FIXED.onnx\n";
    return static_cast<int>(halfsafe::ExitCode::kUsage);
  }
  try {
    halfsafe::Progress silent;  // Override its functions to see the progress and the warnings.
    const halfsafe::Model model = halfsafe::Model::Load(argv[1]);
    const std::unique_ptr<halfsafe::SampleSource> samples =
        halfsafe::OpenSamples({argv[2]}, model.Inputs(), {});

    const halfsafe::RangeTable ranges = halfsafe::Scan(model, *samples, {}, &silent);
    for (const std::string& tensor : halfsafe::OverflowingTensors(ranges, halfsafe::kHalfMax))
      std::cout << tensor << " reaches " << ranges.Find(tensor)->abs_max << "\n";

    halfsafe::Plan plan = halfsafe::MakePlan(model, ranges, {});
    halfsafe::Model fixed = halfsafe::Apply(model, plan);
    halfsafe::CheckResult result = halfsafe::Check(model, fixed, *samples, {}, &silent);
    while (!result.Right() && halfsafe::Widen(model, &plan, *samples, result, {}, &silent).possible) {
      fixed = halfsafe::Apply(model, plan);
      result = halfsafe::Check(model, fixed, *samples, {}, &silent);
    }

    std::cout << (result.Right() ? "right" : "not right") << ", relative L2 error "
              << result.fixed.WorstRelL2() << "\n";
    fixed.Save(argv[3]);
    return static_cast<int>(result.Right() ? halfsafe::ExitCode::kOk : halfsafe::ExitCode::kNotRight);
  } catch (const halfsafe::Error& error) {
    std::cerr << "fix_model: " << error.what() << "\n";
    return static_cast<int>(error.code());
  }
}
