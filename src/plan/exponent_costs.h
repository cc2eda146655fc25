#pragma once

#include <vector>

#include "halfsafe/ranges.h"

namespace halfsafe {

// Costs by exponent, for every exponent from -kLargestExponent to kLargestExponent (plan/integer_system.h). A
// node that has to be added costs 1. What is out of range costs more than all else together, and the more the
// further out, so that a search always finds its way into range.

using CostTable = std::vector<float>;

/// What a result may reach.
struct Limits {
  double margin = 2048.0;      ///< Wanted.
  double threshold = 10000.0;  ///< The most.
};

/// Of storing a result as x * 2^-e; `at_pole`: something divides by it, or the like.
CostTable ResultCost(const TensorStats& stats, const Limits& limits, bool at_pole);
/// The part of it for being out of range.
CostTable OverflowCost(const TensorStats& stats, const Limits& limits);
/// Of partial sums of a result that are 2^-e of what they were, where a runtime adds up in FP16.
CostTable SumCost(const TensorStats& stats);
/// Of storing a constant as c * 2^-e. What is only added to results matters less than what they are
/// multiplied with: where it vanishes, they are large.
CostTable ConstantCost(const TensorStats& stats, bool added);
/// Of an attribute with this value times 2^(times * e): nothing, unless it leaves FP32's normal range.
CostTable AttributeCost(float value, int times);
/// Of `nodes` added nodes for every exponent but 0.
CostTable InsertionCost(double nodes);

}  // namespace halfsafe
