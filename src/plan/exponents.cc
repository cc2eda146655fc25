#include "plan/exponents.h"

#include <cmath>

#include "halfsafe/half.h"
#include "model/rescale_rules.h"

namespace halfsafe {
namespace {

/// What a rescaled tensor may reach on the calibration data: a factor of 32 below 65504 for what the data
/// doesn't show.
constexpr double kMargin = 2048.0;
/// Past this no real model goes, and FP32's own range would come into play.
constexpr int kLargestExponent = 60;

/// Values whose largest magnitude is within 2^power of zero.
uint64_t CountBelow(const TensorStats& stats, int power) {
  uint64_t count = 0;
  for (const auto& [p, values] : stats.exponents) count += p < power ? values : 0;
  return count;
}

/// Whether all non-zero values times 2^shift are normal FP16 numbers.
bool StaysNormal(const TensorStats& stats, int shift) {
  return stats.exponents.empty() ||
         (stats.exponents.begin()->first + shift >= -14 && std::ldexp(stats.abs_max, shift) <= kHalfMax);
}

/// The weights must not pay: at most one in a thousand may newly fall below FP16's smallest value.
bool WeightsAfford(const TensorStats& weights, int exponent) {
  return (CountBelow(weights, exponent - 24) - CountBelow(weights, -24)) * 1000 <= weights.count;
}

void ChooseForTensor(PlanContext* context, int tensor) {
  const auto layers = FindRescalable(context->index, tensor);
  const TensorStats* stats = layers ? context->Stats(tensor) : nullptr;
  if (stats == nullptr || stats->nan_count + stats->inf_count > 0 ||
      !Overflows(*stats, context->options.threshold))
    return;
  const TensorStats* weights = context->Stats(context->index.node(layers->producer).inputs[1]);
  const TensorStats* scale = context->Stats(context->index.node(layers->reader).inputs[1]);
  int exponent = 0;
  while (std::ldexp(stats->abs_max, -exponent) > kMargin) ++exponent;
  const bool fits = weights != nullptr && scale != nullptr && exponent <= kLargestExponent &&
                    WeightsAfford(*weights, exponent) && StaysNormal(*scale, exponent);
  if (fits) context->exponents[static_cast<size_t>(tensor)] = exponent;
}

void ChooseForVariance(PlanContext* context, int constant) {
  const int reader = FindVarianceReader(context->index, constant);
  const TensorStats* stats = reader < 0 ? nullptr : context->Stats(constant);
  if (stats == nullptr || stats->overflow_count == 0 || stats->nan_count + stats->inf_count > 0) return;
  const NodeInfo& node = context->index.node(reader);
  const TensorStats* scale = context->Stats(node.inputs[1]);
  int exponent = 0;
  while (std::ldexp(stats->abs_max, -exponent) > kHalfMax) exponent += 2;
  const int with_input = node.inputs[0] < 0 ? 0 : context->exponents[static_cast<size_t>(node.inputs[0])];
  const bool fits = scale != nullptr && exponent <= kLargestExponent && StaysNormal(*stats, -exponent) &&
                    StaysNormal(*scale, with_input - exponent / 2);
  if (fits) context->exponents[static_cast<size_t>(constant)] = exponent;
}

}  // namespace

void ChooseExponents(PlanContext* context) {
  // A variance's choice looks at its layer's input, so tensors come first.
  for (size_t id = 0; id < context->index.tensors().size(); ++id) {
    if (context->index.tensors()[id].kind == TensorKind::kActivation)
      ChooseForTensor(context, static_cast<int>(id));
  }
  for (size_t id = 0; id < context->index.tensors().size(); ++id) {
    if (context->index.tensors()[id].kind == TensorKind::kConstant)
      ChooseForVariance(context, static_cast<int>(id));
  }
}

}  // namespace halfsafe
