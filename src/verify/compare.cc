#include "verify/compare.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "data/array.h"
#include "halfsafe/half.h"

namespace halfsafe {
namespace {

double ValueAt(const TensorView& view, size_t i) {
  switch (view.dtype) {
    case DType::kFloat:
      return static_cast<const float*>(view.data)[i];
    case DType::kDouble:
      return static_cast<const double*>(view.data)[i];
    case DType::kFloat16:
      return HalfValue(static_cast<const uint16_t*>(view.data)[i]);
    default:
      return Bfloat16Value(static_cast<const uint16_t*>(view.data)[i]);
  }
}

/// Sums over one sample's output, all tensors of a sequence together.
struct OutputSums {
  double difference2 = 0.0, reference2 = 0.0, output2 = 0.0, dot = 0.0, difference = 0.0;
  double max_abs = 0.0, max_reference = 0.0, needed_atol = 0.0;
  uint64_t compared = 0, new_nonfinite = 0, changed_nonfinite = 0;
};

void AddTensor(const TensorView& reference, const TensorView& output, double rtol, OutputSums* total) {
  OutputSums& sums = *total;
  for (size_t i = 0; i < reference.count; ++i) {
    const double expected = ValueAt(reference, i);
    const double got = ValueAt(output, i);
    if (!std::isfinite(expected)) {
      const bool same = std::isnan(expected) ? std::isnan(got) : expected == got;
      sums.changed_nonfinite += same ? 0 : 1;
      continue;
    }
    if (!std::isfinite(got)) {
      ++sums.new_nonfinite;
      continue;
    }
    const double difference = std::fabs(got - expected);
    ++sums.compared;
    sums.difference2 += difference * difference;
    sums.reference2 += expected * expected;
    sums.output2 += got * got;
    sums.dot += expected * got;
    sums.difference += difference;
    sums.max_abs = std::max(sums.max_abs, difference);
    sums.max_reference = std::max(sums.max_reference, std::fabs(expected));
    sums.needed_atol = std::max(sums.needed_atol, difference - rtol * std::fabs(expected));
  }
}

SampleError CompareFloats(const OutputView& reference, const OutputView& output, const std::string& sample,
                          const Tolerance& tolerance, OutputError* error) {
  OutputSums sums;
  for (size_t i = 0; i < reference.tensors.size(); ++i)
    AddTensor(reference.tensors[i], output.tensors[i], tolerance.rtol.value_or(0.0), &sums);
  // An output that is all zero in FP32 has no relative error; any difference counts as a whole.
  double rel_l2 = sums.reference2 > 0.0    ? std::sqrt(sums.difference2 / sums.reference2)
                  : sums.difference2 > 0.0 ? 1.0
                                           : 0.0;
  if (sums.new_nonfinite > 0) rel_l2 = INFINITY;
  if (rel_l2 > error->rel_l2 || error->rel_l2_sample.empty()) {
    error->rel_l2 = rel_l2;
    error->rel_l2_sample = sample;
  }
  error->new_nonfinite += sums.new_nonfinite;
  if (sums.changed_nonfinite > 0) {
    error->problem = fmt::format("{} values that are not finite in FP32 are others here, in sample {}",
                                 sums.changed_nonfinite, sample);
  }
  error->max_abs = std::max(error->max_abs, sums.max_abs);
  if (sums.max_reference > 0.0) error->max_rel = std::max(error->max_rel, sums.max_abs / sums.max_reference);
  if (sums.compared > 0)
    error->mean_abs = std::max(error->mean_abs, sums.difference / static_cast<double>(sums.compared));
  if (sums.reference2 > 0.0 && sums.output2 > 0.0) {
    error->cosine = std::min(error->cosine, sums.dot / std::sqrt(sums.reference2) / std::sqrt(sums.output2));
  }
  error->needed_atol = std::max(error->needed_atol, sums.needed_atol);
  const bool element_wise = tolerance.rtol.has_value() || tolerance.atol.has_value();
  const bool elements_fit = !element_wise || sums.needed_atol <= tolerance.atol.value_or(0.0);
  const bool right =
      rel_l2 <= tolerance.rel_l2 && elements_fit && sums.new_nonfinite == 0 && sums.changed_nonfinite == 0;
  return {sample, rel_l2, sums.max_abs, sums.new_nonfinite, 0, 0.0, right};
}

/// Elements that differ; of those that are packed into bytes, the bytes.
uint64_t CountFlips(const TensorView& reference, const TensorView& output) {
  uint64_t flips = 0;
  const auto* expected = static_cast<const std::byte*>(reference.data);
  const auto* found = static_cast<const std::byte*>(output.data);
  if (reference.dtype == DType::kString) {
    const auto one = StringsOf({expected, reference.size}), other = StringsOf({found, output.size});
    for (size_t i = 0; i < one.size(); ++i) flips += i < other.size() && one[i] == other[i] ? 0 : 1;
    return flips;
  }
  const size_t size = std::max<size_t>(DTypeSize(reference.dtype), 1);
  for (size_t at = 0; at < reference.size; at += size)
    flips += std::memcmp(expected + at, found + at, size) != 0 ? 1 : 0;
  return flips;
}

SampleError CompareExactly(const OutputView& reference, const OutputView& output, uint64_t count,
                           const std::string& sample, const Tolerance& tolerance, OutputError* error) {
  uint64_t flips = 0;
  for (size_t i = 0; i < reference.tensors.size(); ++i)
    flips += CountFlips(reference.tensors[i], output.tensors[i]);
  error->flips += flips;
  const double share = count == 0 ? 0.0 : static_cast<double>(flips) / static_cast<double>(count);
  if (share > error->flip_share || error->rel_l2_sample.empty()) error->rel_l2_sample = sample;
  error->flip_share = std::max(error->flip_share, share);
  return {sample, 0.0, 0.0, 0, flips, share, share <= tolerance.max_flips};
}

std::string Describe(const OutputView& view) {
  return view.sequence ? fmt::format("a sequence of {}", view.tensors.size()) : "a tensor";
}

std::string Describe(const TensorView& view) {
  return fmt::format("{} {}", DTypeName(view.dtype), ShapeText(view.shape));
}

/// Why the two can't be compared value by value; empty where they can.
std::string Mismatch(const OutputView& reference, const OutputView& output, const std::string& sample) {
  if (reference.sequence != output.sequence || reference.tensors.size() != output.tensors.size())
    return fmt::format("{} in sample {}, {} in FP32", Describe(output), sample, Describe(reference));
  for (size_t i = 0; i < reference.tensors.size(); ++i) {
    const TensorView &expected = reference.tensors[i], &found = output.tensors[i];
    const bool floats = IsFloat(expected.dtype) && IsFloat(found.dtype);
    if (expected.shape == found.shape && (expected.dtype == found.dtype || floats)) continue;
    return fmt::format("{}{} in sample {}, {} in FP32",
                       reference.sequence ? fmt::format("element {}: ", i) : "", Describe(found), sample,
                       Describe(expected));
  }
  return "";
}

}  // namespace

SampleError CompareOutput(const OutputView& reference, const OutputView& output, const std::string& sample,
                          const Tolerance& tolerance, OutputError* error) {
  uint64_t count = 0;
  for (const TensorView& tensor : reference.tensors) {
    count += tensor.count;
    error->dtype = tensor.dtype;
  }
  error->count += count;
  if (const std::string problem = Mismatch(reference, output, sample); !problem.empty()) {
    error->right = false;
    error->rel_l2_sample = sample;
    error->problem = problem;
    error->rel_l2 = error->max_abs = error->max_rel = error->mean_abs = error->needed_atol = INFINITY;
    error->cosine = NAN;
    error->flips += count;
    error->flip_share = 1.0;
    return {sample, INFINITY, INFINITY, 0, 0, 1.0, false};
  }
  SampleError found = IsFloat(error->dtype)
                          ? CompareFloats(reference, output, sample, tolerance, error)
                          : CompareExactly(reference, output, count, sample, tolerance, error);
  error->right = error->right && found.right;
  return found;
}

}  // namespace halfsafe
