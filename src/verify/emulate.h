#pragma once

#include <atomic>
#include <memory>
#include <string>
#include <vector>

#include "model/graph_index.h"
#include "runtime/session.h"

namespace halfsafe {

/// A tensor that the emulation rounds.
struct RoundedTensor {
  std::string name;
  DType dtype = DType::kFloat16;
  std::string inf_sample;  ///< The first sample that made it infinite; empty when none did.
  std::string nan_sample;
};

/// Rounds each tapped tensor to its stored type, and remembers where values stopped being finite.
class Rounder : public TapHandler {
 public:
  void BeginSample(std::string name) { sample_ = std::move(name); }
  void Process(const Tap& tap) override;

  std::vector<RoundedTensor> tensors;  ///< By tap id, in graph order.

 private:
  std::string sample_;
};

/// `typed`, a model with FP16 or BF16 tensors, as an FP32 model for ONNX Runtime: weights of 16 bits become the FP32
/// values they hold, and every computed tensor of 16 bits passes a tap that rounds it. Results that only pick among
/// rounded values are not rounded again. Fills `rounder->tensors`.
SessionModel EmulateHalf(const Model& typed, Rounder* rounder);

/// `sample` as the emulation of a model with `inputs` takes it: 16-bit inputs in FP32, rounded to the type they had.
Sample EmulatedInputs(const Sample& sample, const std::vector<InputSpec>& inputs);

}  // namespace halfsafe
