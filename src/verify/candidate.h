#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "halfsafe/check.h"
#include "runtime/session_cache.h"
#include "verify/compare.h"
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
  /// Finds what the outputs are judged by, where the options don't say: from all samples, which run now where
  /// their outputs are not remembered. What they give is kept in a temporary file, and the model let go of;
  /// but outputs that take very much are computed again, unless memory may not hold the model beside another.
  void RunAhead(const SampleSource& samples, const CheckOptions& options, Progress* progress);
  /// By what the outputs are judged, in the order of names(); empty before RunAhead and without the options'.
  const std::vector<OutputRule>& rules() const { return rules_; }
  RunOutputs Run(uint64_t index, const Sample& sample);
  /// Rounds outputs from now on to the 16-bit types that both the file of the original and `fixed` store them
  /// in, but for values that this would make infinite. `lifted` is the whole original.
  void RoundAs(const Model& lifted, const Model& fixed);
  /// Names of the outputs that had such values, in the model's order.
  std::vector<std::string> PastType() const;

 private:
  void Close();
  void RoundOutputs(RunOutputs* outputs);

  const Model& model_;
  const bool allow_nan_;
  const KeptOutputs* kept_;
  std::unique_ptr<OutputStore> store_;
  std::vector<std::string> names_;
  std::vector<OutputRule> rules_;
  std::vector<DType> rounds_to_;  ///< By output, FLOAT for those that stay; empty: all do.
  std::set<size_t> past_type_;    ///< Outputs.
  SessionModel session_model_;
  std::unique_ptr<SessionCache> sessions_;
};

/// What is compared with a reference, and by what.
struct Judging {
  const std::vector<std::string>& names;  ///< Of the outputs.
  const std::vector<OutputRule>& rules;   ///< One for each name, or none at all.
  const CheckOptions& options;
};

/// How each of a run's outputs differs from the reference's.
std::vector<Difference> CompareAll(const Judging& judging, const RunOutputs& reference,
                                   const std::vector<OutputView>& outputs, const std::string& sample);

/// Adds a sample to `errors`, one entry for each output: what each run showed, under one rounding after the
/// other. Returns whether all are right.
bool AddDraws(const Judging& judging, const std::vector<std::vector<Difference>>& draws,
              const std::string& sample, ModelErrors* errors);

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
  /// Adds what a run of `sample` showed, rounded to the nearest, to `errors`. With `draws` and near the
  /// tolerance, further runs under other roundings count too. Returns whether the sample is right.
  bool Compare(const Judging& judging, const RunOutputs& reference, const RunOutputs& outputs,
               const Sample& sample, bool draws);
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
  std::optional<RunOutputs> Run(const Sample& sample, size_t draw);

  const Model& model_;
  std::vector<InputSpec> inputs_;
  Rounder rounder_;
  std::unique_ptr<StoredRanges> ranges_;
  SessionModel session_model_;
  std::unique_ptr<SessionCache> sessions_;
};

}  // namespace halfsafe
