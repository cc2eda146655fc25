#pragma once

#include <atomic>
#include <memory>
#include <string>
#include <vector>

#include "model/graph_index.h"
#include "runtime/session.h"
#include "runtime/tap.h"

namespace halfsafe {

class Observer;

/// A tensor that the emulation rounds, or only looks at.
struct RoundedTensor {
  std::string name;
  DType dtype = DType::kFloat16;  ///< FLOAT: passed on as it is.
  std::string inf_sample;         ///< The first sample that made it infinite; empty when none did.
  std::string nan_sample;
  uint64_t elements = 0;  ///< In the last run.
  bool weight = false;    ///< Rounded once, when the model was written.
};

/// Rounds each tapped tensor to its stored type, and remembers where values stopped being finite.
class Rounder : public TapHandler {
 public:
  /// `draw` 0 rounds to the nearest, and others as the seed has it (see kMostDraws).
  void BeginSample(std::string name, size_t draw) {
    sample_ = std::move(name);
    draw_ = draw;
  }
  void Process(const Tap& tap) override;

  uint64_t seed = 0;                   ///< Of the draws.
  std::vector<RoundedTensor> tensors;  ///< By tap id, in graph order.
  std::vector<bool> enabled;           ///< By tap id: whether to round. Empty: all do.
  /// Sees what became of the tensors in draw 0, by tap id; may be nullptr.
  Observer* observer = nullptr;

 private:
  void Round(const Tap& tap);

  std::string sample_;
  size_t draw_ = 0;
};

/// Weights that were turned from 16 bits to FP32, by name: models made from one original share most of them.
struct WidenedWeights {
  struct Entry {
    DType dtype = DType::kFloat16;
    TensorBytes bits;  ///< The 16-bit form.
    std::shared_ptr<const float[]> values;
  };
  std::unordered_map<std::string, Entry> entries;
};

/// `typed`, a model with FP16 or BF16 tensors, as an FP32 model for ONNX Runtime: weights of 16 bits become
/// the FP32 values they hold, and every computed tensor of 16 bits passes a tap that rounds it. Results that
/// only pick among rounded values are not rounded again. Fills `rounder->tensors`; takes weights from
/// `shared` (may be nullptr) and adds to it. `feed`: see WeightOptions. With `all_floats` what is not rounded
/// passes a tap too: FP32 results, and those that only pick among others.
SessionModel EmulateHalf(const Model& typed, Rounder* rounder, WidenedWeights* shared, Feed feed,
                         bool all_floats = false);

/// The same with every rounding behind a tap that can be switched: the 16-bit weights of the main graph too,
/// whose taps get their values from `unrounded`, the same model in FP32, which must outlive the result.
/// `rounder->tensors` names results and weights of `typed`.
SessionModel EmulateHalfSwitchable(const Model& unrounded, const Model& typed, Rounder* rounder, Feed feed);

/// `sample` as the emulation of a model with `inputs` takes it: 16-bit inputs in FP32, rounded to the type
/// they had.
Sample EmulatedInputs(const Sample& sample, const std::vector<InputSpec>& inputs);

}  // namespace halfsafe
