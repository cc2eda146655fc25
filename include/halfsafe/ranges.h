#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "halfsafe/model.h"
#include "halfsafe/progress.h"
#include "halfsafe/provider.h"
#include "halfsafe/sample.h"

namespace halfsafe {

/// What one tensor did over every sample seen so far. All numbers are exact, and merging is associative and
/// commutative: the order of samples cannot matter.
struct TensorStats {
  std::string name;             ///< Unique in the model; inside bodies a path ("If_3/then_branch/x").
  DType dtype = DType::kFloat;  ///< A floating-point type.
  bool constant = false;        ///< A weight: read from the model, not observed.
  uint64_t count = 0;           ///< Finite values.
  double min = 0.0;             ///< Smallest finite value; meaningful when count > 0, as are the next two.
  double max = 0.0;             ///< Largest finite value.
  double abs_max = 0.0;         ///< Largest |x| among finite values.
  std::string
      abs_max_sample;      ///< The sample that showed abs_max; on a tie the first by name. Empty for weights.
  uint64_t nan_count = 0;  ///< Not 0: the model itself is broken here.
  uint64_t inf_count = 0;  ///< Likewise.
  uint64_t overflow_count = 0;        ///< Finite values past 65504.
  uint64_t subnormal_count = 0;       ///< Non-zero values that FP16 makes subnormal or zero.
  std::map<int, uint64_t> exponents;  ///< Finite non-zero values with 2^key <= |x| < 2^(key+1).
  /// Largest sum of |x| over the whole tensor in one sample.
  double abs_sum = 0.0;
  /// For results of sums (dot products, means, pools, normalizations): no partial sum on the way passed this.
  std::optional<double> sum_bound;
  /// For inputs of Softmax that a mask may reach: the smallest of the rows' maxima. A fully masked row makes
  /// it huge.
  std::optional<double> row_max_min;

  /// Non-zero values that FP16 makes zero when all are stored as x * 2^-exponent: those below 2^-25 then.
  uint64_t VanishingCount(int exponent = 0) const;
  /// Takes over what `other` saw of the same tensor.
  void Merge(const TensorStats& other);
};

/// A sample that was left out of a scan.
struct SkippedSample {
  std::string name;    ///< Its name (see Sample).
  std::string reason;  ///< What was wrong with it.
};

/// The ranges of every floating-point tensor of a model, in graph order.
struct RangeTable {
  std::string model_sha256;            ///< Of the model that was scanned.
  std::optional<int> opset;            ///< That the model was raised to before it was scanned.
  bool lift_clamps = false;            ///< Model::LiftClamps was called before.
  uint64_t samples = 0;                ///< How many were seen.
  std::vector<SkippedSample> skipped;  ///< By name; not counted in `samples`.
  std::vector<TensorStats> tensors;    ///< In graph order.

  /// The tensor of this name; null where there is none.
  const TensorStats* Find(std::string_view name) const;

 private:
  mutable std::unordered_map<std::string, size_t> by_name_;
};

/// The value of one output in one sample.
struct OutputValue {
  bool sequence = false;       ///< The output is a sequence of tensors.
  std::vector<Array> tensors;  ///< The sequence's, or one.
};

/// Outputs of the original model per sample, kept while they fit: a check right after a scan needn't run it
/// again.
struct KeptOutputs {
  uint64_t budget = uint64_t{64} << 20;  ///< Bytes. Past it everything is dropped, and memory stays bounded.
  uint64_t bytes = 0;                    ///< What `samples` takes.
  std::vector<std::vector<OutputValue>> samples;  ///< In the order of the samples; each in the model's order.
  bool complete = false;                          ///< All samples are there: nothing was dropped.
};

/// How a scan is run.
struct ScanOptions {
  int threads = 0;       ///< 0: one per core.
  bool optimize = true;  ///< ONNX Runtime's graph optimizations; off gives bit-for-bit what Polygraphy sees
                         ///< with them off.
  /// Hold weights once, slower, as is done for any model whose weights take more than 512 MiB in FP32.
  bool low_memory = false;
  bool allow_nan = false;  ///< Samples may hold NaN, as where it stands for what is missing.
  std::vector<std::filesystem::path> custom_op_libraries;  ///< Loaded, with the rights of the process.
  std::string save_outputs;  ///< Where to write tensors in Polygraphy's output JSON; empty: nowhere.
  KeptOutputs* keep_outputs = nullptr;  ///< Filled with the model's outputs, if they fit.
  std::string save_tensors = ".*";      ///< Which tensors to write: a regular expression on full names.
  bool skip_bad_samples = false;        ///< Leave out samples that can't be read or run, and name them.
  std::string checkpoint;               ///< A file to go on from, and to keep what was seen in; empty: none.
  Provider provider = Provider::kCpu;   ///< Statistics are taken where the tensors are.
};

/// Runs every sample once and returns what every floating-point tensor did. Memory does not grow with
/// samples, but for the outputs that `keep_outputs` asks for, up to its budget. Throws Error(kBadInput) for
/// samples that don't fit the model, and when ONNX Runtime can't run it; Error(kUnavailable) when the
/// provider is not there. Scans of parts of the samples, merged, give what one scan of all gives.
RangeTable Scan(const Model& model, const SampleSource& samples, const ScanOptions& options,
                Progress* progress);

/// The same from tensors that Polygraphy recorded, without running anything. Tensors that the files lack stay
/// out. Throws Error(kBadInput) for samples with no tensor of the model's.
RangeTable ScanRecorded(const Model& model, const SampleSource& recorded, Progress* progress);

/// The weights alone: what `Scan` says of them, without inference.
RangeTable ScanConstants(const Model& model);

/// Joins scans of different samples of one model. Throws Error(kBadInput) when they are of different models.
RangeTable MergeRanges(const std::vector<RangeTable>& tables);

/// A halfsafe-ranges file (docs/formats.md).
std::string ToJson(const RangeTable& ranges);
/// Reads a halfsafe-ranges file. Throws Error(kBadInput) that names `where` and what is wrong.
RangeTable RangesFromJson(std::string_view text, std::string_view where);

}  // namespace halfsafe
