#pragma once

#include <optional>
#include <string>
#include <vector>

#include "halfsafe/check.h"
#include "runtime/session.h"

namespace halfsafe {

/// How one output of one run differs from FP32's. The fields mean what OutputError's of the same names do.
struct Difference {
  DType dtype = DType::kFloat;
  uint64_t count = 0, compared = 0;
  double distance = 0.0;
  double rel_l2 = 0.0, max_abs = 0.0, max_rel = 0.0, mean_abs = 0.0, cosine = 1.0, needed_atol = 0.0;
  uint64_t new_nonfinite = 0, flips = 0;
  double flip_share = 0.0;
  std::string problem;
  std::optional<PartError> worst_part;
};

/// Compares an output with the reference's, by `rule` where that is not null. Floats of any type are compared
/// by value, all other types for equality.
Difference CompareOutput(const OutputView& reference, const OutputView& output, const std::string& sample,
                         const Tolerance& tolerance, const OutputRule* rule);

/// Adds what one sample showed under one or more roundings to `error`, and returns it as one.
SampleError AddSample(const std::vector<Difference>& draws, const std::string& sample, OutputError* error);

/// Marks outputs of which FP32 had no finite value in any sample: equal NaN are no agreement. To be called
/// once all samples are added.
void RequireCompared(ModelErrors* errors);

/// Whether FP32 had no finite value of some output to compare with.
bool NothingToCompare(const ModelErrors& errors);

/// The number below which values of an FP tensor are those of a mask, as -1e9 for what isn't to be chosen, that is
/// far larger than all others and hides them in any norm; -infinity where there is no mask.
double MaskedBelow(const TensorView& view);

/// An element of a floating-point tensor.
double ValueAt(const TensorView& view, size_t i);

}  // namespace halfsafe
