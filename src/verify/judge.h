#pragma once

#include <optional>
#include <vector>

#include "halfsafe/check.h"
#include "verify/candidate.h"

namespace halfsafe {

/// Says of one candidate after the other whether it is right, as Check does, and no more than that: the first
/// sample that says no is the last one run. That sample is the next candidate's first, because what is hard
/// for one is hard for others.
class Judge {
 public:
  /// `original`, `samples` and what `options` refers to must outlive the judge. `hardest` is the sample to
  /// begin with.
  Judge(const Model& original, const SampleSource& samples, const CheckOptions& options, uint64_t hardest);
  Judge(const Judge&) = delete;
  Judge& operator=(const Judge&) = delete;

  bool Right(const Model& fixed);
  /// Runs the samples of `open` in their order and takes those that are right out of it, up to one that
  /// isn't.
  bool AllRight(const Model& fixed, std::vector<uint64_t>* open, Progress* progress);
  /// All samples, the hardest so far first.
  const std::vector<uint64_t>& order() const { return order_; }

 private:
  bool RightOn(uint64_t index, Candidate* candidate);
  void Prefer(uint64_t index);

  const Model& original_;
  const SampleSource& samples_;
  CheckOptions options_;
  std::optional<Model> part_;  ///< Set where the model's tail doesn't run.
  bool same_shapes_;
  Reference reference_;
  std::vector<uint64_t> order_;
};

}  // namespace halfsafe
