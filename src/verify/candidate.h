#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "halfsafe/check.h"
#include "runtime/session_cache.h"
#include "verify/emulate.h"
#include "verify/output_store.h"
#include "verify/stored_ranges.h"

namespace halfsafe {

/// The outputs of one run, and what keeps them alive: an output may be one of the inputs.
struct RunOutputs {
  std::shared_ptr<Sample> sample;
  std::vector<Ort::Value> values;
  std::vector<OutputValue> stored;
  std::vector<OutputValue> rounded;  ///< Of outputs that Reference::RoundAs is for.
  std::vector<OutputView> views;
};

/// Views of what a run gave out, whose outputs have these names.
std::vector<OutputView> Views(const std::vector<Ort::Value>& values, const std::vector<std::string>& names);

/// The position of the sample of this name; the first's where there is none.
uint64_t FindSample(const SampleSource& samples, const std::string& name);

/// How sessions of a check run. What is compared must have run on the same number of threads: with another
/// one ONNX Runtime may sum in another order. So sessions that are compared with each other are all one of
/// several, or none is; outputs that a scan kept aren't held to that (CheckAgainstKept).
SessionOptions SessionOptionsOf(const CheckOptions& options, bool beside_another = false);

/// The model whose results are right.
const Model& ReferenceOf(const Model& original, const CheckOptions& options);

/// The outputs that stand for running the original; nullptr where it runs. What is saved is what it gives
/// itself.
const KeptOutputs* KeptOf(const CheckOptions& options);

/// For sessions on the CPU.
Feed FeedOf(const CheckOptions& options);

/// Whether memory may not hold `model` twice: what can run one after the other does, and weights are fed.
bool OneAtATime(const Model& model, const CheckOptions& options);

/// The original model in FP32, run or remembered from the scan.
class Reference {
 public:
  /// `original` must outlive the reference.
  Reference(const Model& original, const CheckOptions& options, bool same_shapes,
            bool beside_another = false);
  const std::vector<std::string>& names() const { return names_; }
  /// Runs all samples now and lets go of the model: what they gave is kept in a temporary file. Does nothing
  /// where it is remembered anyway.
  void RunAhead(const SampleSource& samples, Progress* progress);
  RunOutputs Run(uint64_t index, const Sample& sample);
  /// Rounds outputs from now on to the 16-bit types that both the file of the original and `fixed` store them
  /// in, but for values that this would make infinite. `lifted` is the whole original.
  void RoundAs(const Model& lifted, const Model& fixed);
  /// Names of the outputs that had such values, in the model's order.
  std::vector<std::string> PastType() const;

 private:
  void RoundOutputs(RunOutputs* outputs);

  const Model& model_;
  const bool allow_nan_;
  const KeptOutputs* kept_;
  std::unique_ptr<OutputStore> store_;
  std::vector<std::string> names_;
  std::vector<DType> rounds_to_;  ///< By output, FLOAT for those that stay; empty: all do.
  std::set<size_t> past_type_;    ///< Outputs.
  SessionModel session_model_;
  std::unique_ptr<SessionCache> sessions_;
};

/// Adds a sample's outputs to `errors`, one entry for each of `names`.
void CompareAll(const std::vector<std::string>& names, const RunOutputs& reference,
                const std::vector<OutputView>& outputs, const std::string& sample,
                const CheckOptions& options, ModelErrors* errors);

/// Says in `errors`, once all samples have run, whether they are those of a right model, and where it isn't
/// finite.
void Conclude(ModelErrors* errors);

/// A model with 16-bit tensors under emulation, and how its outputs differ from the reference's.
class Candidate {
 public:
  /// `beside_another` is for two candidates that run at the same time; `ranges` keeps what Ranges() tells.
  Candidate(const Model& model, const CheckOptions& options, bool same_shapes, bool beside_another,
            WidenedWeights* weights, bool ranges = false);

  /// Runs one sample. Once a run fails, `errors.failure` says why and no further sample is run; nothing is
  /// returned.
  std::optional<RunOutputs> Run(const Sample& sample);
  void Compare(const std::vector<std::string>& names, const RunOutputs& reference, const RunOutputs& outputs,
               const CheckOptions& options);
  /// Completes `errors`. `finite_before` tells whether a tensor has no infinite (or no NaN) values in FP32.
  void Finish(const std::function<bool(const std::string& tensor, bool nan)>& finite_before);
  /// Whether any tensor stopped being finite.
  bool AnyNonFinite() const;
  /// What the model's tensors did in the samples that ran, where that was kept.
  std::optional<RangeTable> Ranges() const;
  /// Lets go of the sessions and their weights; nothing can be run any more.
  void Close();

  ModelErrors errors;

 private:
  const Model& model_;
  std::vector<InputSpec> inputs_;
  Rounder rounder_;
  std::unique_ptr<StoredRanges> ranges_;
  SessionModel session_model_;
  std::unique_ptr<SessionCache> sessions_;
};

}  // namespace halfsafe
