#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "halfsafe/model.h"
#include "halfsafe/plan.h"
#include "halfsafe/progress.h"
#include "halfsafe/provider.h"
#include "halfsafe/ranges.h"
#include "halfsafe/sample.h"

namespace halfsafe {

/// What counts as right.
struct Tolerance {
  double rel_l2 = 1e-2;  ///< |y - ref|_2 <= rel_l2 * |ref|_2, for every float output and sample.
  std::optional<double>
      rtol;  ///< With atol, element-wise: |y - ref| <= atol + rtol * |ref|. Off when both are unset.
  std::optional<double> atol;  ///< See rtol.
  double max_flips = 0.0;      ///< Share of elements of integer and bool outputs that may differ.
};

/// Indices [begin, end) along an axis.
struct IndexRange {
  int64_t begin = 0;  ///< The first one.
  int64_t end = 0;    ///< Behind the last one.
  /// Both are equal.
  bool operator==(const IndexRange&) const = default;
};

/// What stands side by side in an output and is judged by itself, as box coordinates beside scores.
struct OutputPart {
  std::vector<IndexRange> ranges;  ///< Along the rule's axis.
  double largest = 0.0;  ///< L2 norm in FP32 of the largest that each of its indices shows in a sample.
  double largest_index =
      0.0;  ///< Largest L2 norm that one index along the rule's index_axis has in a sample.
};

/// By what an output is judged beside the norm of all of it (docs/rules.md, "Right, and by what"). With the
/// tolerance t: the error of a part stays within t times the part's norm, or a tenth of the norm that it has
/// elsewhere, if that is more; the error of one index within 5 t times the index's norm, or a tenth of the
/// largest index of its part.
struct OutputRule {
  std::string output;   ///< The output's name.
  int axis = -1;        ///< Along which the parts lie; -1: there are none, the whole is judged alone.
  int index_axis = -1;  ///< Along which single indices are judged; -1: none.
  std::vector<OutputPart> parts;  ///< In the order of their first index; one where nothing is told apart.
  std::string origin;  ///< What shows the parts: a Concat node, or how far norms lie apart; empty for one.
};

/// How a check is run, and what it is measured by.
struct CheckOptions {
  Tolerance tolerance;                                     ///< What counts as right.
  int threads = 0;                                         ///< Of ONNX Runtime; 0: one per core.
  std::vector<std::filesystem::path> custom_op_libraries;  ///< Loaded, with the rights of the process.
  /// Hold weights once and one model at a time, slower, as is done for any model whose weights take more than
  /// 512 MiB in FP32.
  bool low_memory = false;
  bool allow_nan = false;  ///< Samples may hold NaN.
  bool plain = true;       ///< Also run the plain FP16 model, for comparison.
  bool on_cpu = true;      ///< Fill CheckResult::on_cpu.
  std::string
      save_outputs;  ///< Folder for the outputs of all models, in Polygraphy's output JSON; empty: nowhere.
  const KeptOutputs* kept_outputs =
      nullptr;  ///< Of the original on the same samples, where known: saves running it.
  const RangeTable* ranges = nullptr;  ///< Of the original, where known: tells new infinities from old ones.
  /// Where the original was raised to another opset: as it was before. Its results are what is right.
  const Model* reference = nullptr;
  const std::vector<OutputRule>* rules =
      nullptr;        ///< Of an earlier check of the original; found where not given.
  uint64_t seed = 0;  ///< Of the roundings that are tried near the tolerance.
  /// Samples that were near the tolerance in another model made of the original: they run under all
  /// roundings.
  const std::vector<std::string>* close_samples = nullptr;
  bool per_sample = false;    ///< Fill OutputError::samples: memory then grows with samples.
  bool fixed_ranges = false;  ///< Fill CheckResult::fixed_ranges.
  /// On CUDA, plain FP16 and the fixed model also run on the GPU, whose kernels are really FP16. Reference
  /// and emulation stay on the CPU.
  Provider provider = Provider::kCpu;
};

/// How one output differs from FP32's in one sample. The fields mean what OutputError's of the same names do.
struct SampleError {
  std::string sample;          ///< The sample's name.
  double distance = 0.0;       ///< From FP32, in tolerances: up to 1 is right.
  double rel_l2 = 0.0;         ///< |y - ref|_2 / |ref|_2.
  double max_abs = 0.0;        ///< Largest |y - ref|.
  uint64_t new_nonfinite = 0;  ///< Not finite here, finite in FP32.
  uint64_t flips = 0;          ///< Differing elements of integer and bool outputs.
  double flip_share = 0.0;     ///< Their share of all.
  bool right = true;           ///< Within the tolerance.
};

/// The part, or the index of a part, of an output that is nearest to what its rule allows, or furthest past.
struct PartError {
  std::string where;       ///< As numpy writes it: "scores[:, 7, :]".
  double error = 0.0;      ///< L2 norm of y - ref there.
  double reference = 0.0;  ///< L2 norm of ref there.
  double allowed = 0.0;    ///< The error that is just right.
  std::string sample;      ///< Where that was seen.
};

/// How one output of a model differs from FP32's. Errors are the worst over samples; elements that are not
/// finite in FP32 are left out of them, and must be the same here. What is right goes by `distance`, over all
/// roundings that a sample ran under (docs/rules.md, "Right, and by what"); all other errors are those of
/// values rounded to the nearest.
struct OutputError {
  std::string name;             ///< The output's.
  DType dtype = DType::kFloat;  ///< Of the original's output.
  uint64_t count = 0;           ///< Elements over all samples.
  uint64_t compared = 0;  ///< Those of them that are finite in FP32. With none, nothing shows what is right.
  /// From FP32, in tolerances: the largest of what is judged (norm, parts, elements, flips), each as a
  /// multiple of what is allowed. Up to 1 is right; infinite where values are new that are not finite.
  /// Of integers and bools it is that of values rounded to the nearest.
  double distance = 0.0;
  std::string distance_sample;          ///< Where that was largest.
  uint64_t draws = 1;                   ///< Roundings that this sample ran under.
  double worst_draw = 0.0;              ///< The largest distance of a single one, in any sample.
  bool on_edge = false;                 ///< In some sample roundings lie on both sides of the tolerance.
  std::optional<PartError> worst_part;  ///< Where the output has a rule with parts.
  double rel_l2 = 0.0;                  ///< |y - ref|_2 / |ref|_2.
  double max_abs = 0.0;                 ///< Largest |y - ref|.
  double max_rel = 0.0;                 ///< Largest |y - ref| / max |ref| of the sample.
  double mean_abs = 0.0;                ///< Largest over samples of the mean |y - ref|.
  double cosine = 1.0;                  ///< Smallest cosine of y and ref; NaN where the shapes differ.
  double needed_atol = 0.0;             ///< The atol that would have passed with the given rtol.
  uint64_t new_nonfinite = 0;           ///< Not finite here, finite in FP32.
  uint64_t flips = 0;                   ///< Differing elements of integer and bool outputs.
  double flip_share = 0.0;              ///< Largest share of differing elements in one sample.
  /// A shape, a type or an infinity that differs, or that FP32 has no finite value to compare with; empty
  /// otherwise. Where a shape or a type differs, errors are infinite and every element counts as different.
  std::string problem;
  bool right = true;                 ///< Within the tolerance on every sample.
  std::vector<SampleError> samples;  ///< In the order in which they ran; only where asked for.
};

/// Where a model stops being finite.
struct FirstNonFinite {
  std::string tensor;   ///< The first tensor that is not finite.
  std::string node;     ///< The node that made it.
  std::string op_type;  ///< The node's operator.
  std::string sample;   ///< Where it was seen.
};

/// How the outputs of one model differ from FP32's.
struct ModelErrors {
  std::vector<OutputError> outputs;            ///< In the model's order.
  std::optional<FirstNonFinite> first_inf;     ///< First in graph order of those that FP32 doesn't have.
  std::optional<FirstNonFinite> first_nan;     ///< The same for NaN.
  std::vector<std::string> nonfinite_outputs;  ///< Outputs that are not finite where FP32's are.
  std::vector<std::string> close_samples;      ///< Those that ran under more than one rounding.
  std::string failure;         ///< Why the model could not be run at all; empty when it could.
  std::string failure_sample;  ///< The sample on which it could not.
  bool right = true;           ///< It ran, and every output is right.
  /// The largest rel_l2 of all outputs.
  double WorstRelL2() const;
};

/// What 16-bit models give on a GPU. Where they stop being finite inside is not known there.
struct DeviceErrors {
  std::optional<ModelErrors> plain;  ///< The plain FP16 model, where it was asked for.
  ModelErrors fixed;                 ///< The fixed model.
};

/// What became of a model in ONNX Runtime's CPU provider, at its default options.
struct CpuResult {
  bool runs = true;            ///< It was loaded, and ran on one sample.
  std::string stage;           ///< "load" or "run": where it ended; empty where it runs.
  std::string node;            ///< The node that ONNX Runtime names, if it names one.
  std::string message;         ///< ONNX Runtime's words, or how its process ended.
  bool runs_at_basic = false;  ///< At its optimization level "basic" it runs.
};

/// What a check found.
struct CheckResult {
  uint64_t samples = 0;                ///< How many were run.
  std::vector<OutputRule> rules;       ///< By what each output was judged, in the model's order.
  std::optional<ModelErrors> plain;    ///< The plain FP16 model, emulated, where it was asked for.
  ModelErrors fixed;                   ///< The fixed model, emulated.
  std::optional<DeviceErrors> device;  ///< Where the check ran them there too.
  /// What the float tensors of the fixed model did under emulation, by the names that they have there and as
  /// they are stored, and its weights; in graph order. Only where asked for.
  std::optional<RangeTable> fixed_ranges;
  std::optional<CpuResult> on_cpu;  ///< The fixed model as such, where that was tried.
  bool plain_as_stored = false;     ///< `plain` is the original's file as it is, which has 16-bit tensors.
  /// Outputs that reach, in FP32, what the 16-bit type of the original's file can't hold, and that the fixed
  /// model stores in it: with these types of outputs no model is right.
  std::vector<std::string> outputs_past_type;
  /// The fixed model is right wherever it was run.
  bool Right() const { return fixed.right && (!device || device->fixed.right); }
};

/// Runs the original in FP32, and plain FP16 and `fixed` emulated: FP32 arithmetic, every tensor rounded to
/// the type that the model stores it in. That is what a GPU does with FP16 storage and FP32 accumulation. For
/// an original with 16-bit tensors what is right is the FP32 model behind it (Model::Lifted), whose outputs
/// are rounded to the type of the file's where the fixed model's have that too; the file as it is takes the
/// place of plain FP16.
/// Throws Error(kBadInput) when the two models' inputs or outputs don't match, or a sample doesn't fit;
/// Error(kUnavailable) when the provider is not there.
CheckResult Check(const Model& original, const Model& fixed, const SampleSource& samples,
                  const CheckOptions& options, Progress* progress);

/// As Check, with `options->kept_outputs` believed only where the fixed model is right, and not at all where
/// outputs are saved. What a scan computed may differ from what a check computes in the last bit, and where a
/// result jumps, as the choice among equal scores does, outputs then differ by more than any FP16 does. So
/// when the fixed model is wrong, they are held against runs of the original; where they are not its own,
/// they are taken out of `options` and the check is made again.
CheckResult CheckAgainstKept(const Model& original, const Model& fixed, const SampleSource& samples,
                             CheckOptions* options, Progress* progress);

/// Whether any tensor has values that are infinite or NaN.
bool AnyNotFinite(const RangeTable& ranges);

/// What overflows inside a fixed model, although its outputs may be right: the tensors of `fixed`
/// (CheckResult::fixed_ranges) that are stored in FP16 and pass `threshold`, or that are infinite or NaN
/// where `original`, the ranges of the original on the same samples, is not. Without `original` every value
/// that is not finite counts. In graph order; tensors in FP32 and BF16 are left out.
std::vector<TensorStats> OverflowOfFixed(const RangeTable& fixed, const RangeTable* original,
                                         double threshold);

/// What widening did.
struct Widening {
  std::vector<std::string> nodes;  ///< Nodes that went to FP32, most harmful first.
  double predicted_rel_l2 = 0.0;   ///< Error that should remain.
  bool possible = true;  ///< False when nothing in FP16 was left to widen, or FP32's outputs show no value.
  /// Each of the nodes was tried: on the sample measured, the outputs are surely past the tolerance without
  /// it.
  bool minimal = false;
};

/// Moves the FP16 nodes whose rounding hurts most to FP32 in `plan`: enough of them, by measurement on the
/// worst sample of `check`, that the rest should meet the tolerance. Where there are many samples it goes on
/// for those that this doesn't serve, until each was right once. Throws what Check throws.
Widening Widen(const Model& original, Plan* plan, const SampleSource& samples, const CheckResult& check,
               const CheckOptions& options, Progress* progress);

/// What taking nodes back to FP16 found.
struct Narrowing {
  std::vector<std::string> nodes;  ///< Nodes that widening had taken and that are FP16 again.
  uint64_t checks = 0;             ///< Models that were checked on the way.
  /// Each of the remaining ones was tried: with it in FP16, and nothing else changed, the check fails or the
  /// error is more than is looked for (docs/rules.md, "Widening").
  bool minimal = false;
};

/// Takes nodes that `plan` keeps in FP32 for their error ("error"), and for nothing else, back to FP16 as
/// long as the check stays right, halves of them first, then one by one. Measurements on the hardest sample
/// rule most choices out. Stops after `seconds`, or without them after a fixed number of runs and checks,
/// with a plan that is right. `check` must be the right result for `plan`. Takes nothing back where memory
/// may not hold the model twice. Throws what Check throws.
Narrowing Narrow(const Model& original, Plan* plan, const SampleSource& samples, const CheckResult& check,
                 const CheckOptions& options, std::optional<double> seconds, Progress* progress);

}  // namespace halfsafe
