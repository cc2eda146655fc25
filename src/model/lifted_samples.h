#pragma once

#include <optional>
#include <string>
#include <vector>

#include "halfsafe/model.h"
#include "halfsafe/progress.h"
#include "halfsafe/sample.h"

namespace halfsafe {

/// Samples as a lifted model takes them: an input that its file has in 16 bits may be given in that type or
/// in FP32, and is read as the FP32 values that it has in the file's type. So the reference sees what the
/// file would be given. Samples of other models stay as they are.
class LiftedSamples {
 public:
  /// `lifted` is what Model::Lifted returned; `given` must outlive the result, and may be such samples
  /// already. Says once through `progress` when FP32 values are rounded.
  LiftedSamples(const Model& lifted, const SampleSource& given, Progress* progress);

  /// What stages read.
  const SampleSource& source() const { return lifted_ ? static_cast<const SampleSource&>(*lifted_) : given_; }

 private:
  /// Rounds what `given` has.
  class Source : public SampleSource {
   public:
    Source(std::vector<InputSpec> inputs, const SampleSource& given)
        : inputs_(std::move(inputs)), given_(given) {}
    uint64_t size() const override { return given_.size(); }
    std::string Name(uint64_t index) const override { return given_.Name(index); }
    Sample Read(uint64_t index) const override;

   private:
    std::vector<InputSpec> inputs_;  ///< Those that the file has in 16 bits, with their types there.
    const SampleSource& given_;
  };

  const SampleSource& given_;
  std::optional<Source> lifted_;
};

}  // namespace halfsafe
