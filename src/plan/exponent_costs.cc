#include "plan/exponent_costs.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "halfsafe/half.h"
#include "plan/integer_system.h"

namespace halfsafe {
namespace {

constexpr double kOutOfRange = 1000.0;
constexpr double kPerBitOutOfRange = 100.0;
constexpr double kImpossible = 1e6;
/// Below the price of a node: nodes are added to stay in range, not for the margin's sake.
constexpr double kPerBitPastMargin = 0.2;
constexpr double kSubnormal = 0.1;
constexpr double kVanishing = 0.5;
/// Losing more than one weight in a thousand, or a tenth of a result's values, is worth two nodes to avoid.
constexpr double kManyVanish = 2.0;
constexpr double kManyWeights = 1e-3;
constexpr double kManyResults = 0.1;
/// Values that leave FP32's normal range lose bits. Where that happens they are far below all others.
constexpr double kInexact = 0.5;
/// Of two that are as good, the smaller exponent.
constexpr double kPerBit = 1e-3;
/// Values past 2^60 are masks and the like, not results that a factor would help.
constexpr double kNoMagnitude = 0x1p60;

constexpr int kNormalExponent = -14;  // FP16's.
constexpr int kVanishesBelow = -25;   // Largest power that FP16 rounds to zero, nearly.
constexpr int kFloatLowest = -126, kFloatHighest = 127;

/// How many values lie below each power of two.
class Below {
 public:
  explicit Below(const TensorStats& stats) {
    for (const auto& [power, count] : stats.exponents) {
      const int at = std::clamp(power, -kRange, kRange - 1) + kRange;
      counts_[static_cast<size_t>(at) + 1] += count;
    }
    for (size_t i = 1; i < counts_.size(); ++i) counts_[i] += counts_[i - 1];
    total_ = std::max<double>(1.0, static_cast<double>(stats.count));
  }
  /// The share of values that fall below 2^power when all are divided by 2^exponent, and don't before.
  double Share(int power, int exponent) const {
    const double now = At(power + exponent), before = At(power);
    return std::max(0.0, now - before) / total_;
  }

 private:
  static constexpr int kRange = 160;
  double At(int power) const {
    return static_cast<double>(counts_[static_cast<size_t>(std::clamp(power, -kRange, kRange) + kRange)]);
  }
  std::array<uint64_t, 2 * kRange + 1> counts_ = {};
  double total_ = 1.0;
};

template <typename Cost>
CostTable Tabulate(Cost cost) {
  CostTable table;
  table.reserve(2 * kLargestExponent + 1);
  for (int e = -kLargestExponent; e <= kLargestExponent; ++e) table.push_back(static_cast<float>(cost(e)));
  return table;
}

double PastLimit(double largest, double limit) {
  return largest <= limit ? 0.0 : kOutOfRange + kPerBitOutOfRange * std::log2(largest / limit);
}

bool HasMagnitude(const TensorStats& stats) {
  return stats.count > 0 && stats.nan_count == 0 && stats.inf_count == 0 && stats.abs_max > 0.0 &&
         stats.abs_max < kNoMagnitude;
}

}  // namespace

CostTable ResultCost(const TensorStats& stats, const Limits& limits, bool at_pole) {
  if (!HasMagnitude(stats)) return Tabulate([](int) { return 0.0; });
  const Below below(stats);
  return Tabulate([&](int e) {
    const double vanishing = below.Share(kVanishesBelow, e);
    double cost =
        kPerBit * std::abs(e) + kSubnormal * below.Share(kNormalExponent, e) + kVanishing * vanishing;
    if (vanishing > (at_pole ? 0.0 : kManyResults)) cost += kManyVanish;
    const double largest = std::ldexp(stats.abs_max, -e);
    if (largest > limits.margin) cost += kPerBitPastMargin * std::log2(largest / limits.margin);
    return cost + PastLimit(largest, limits.threshold);
  });
}

CostTable OverflowCost(const TensorStats& stats, const Limits& limits) {
  if (!HasMagnitude(stats)) return Tabulate([](int) { return 0.0; });
  return Tabulate([&](int e) { return PastLimit(std::ldexp(stats.abs_max, -e), limits.threshold); });
}

CostTable SumCost(const TensorStats& stats) {
  return Tabulate([&](int e) { return PastLimit(std::ldexp(stats.sum_bound.value_or(0.0), -e), kHalfMax); });
}

CostTable ConstantCost(const TensorStats& stats, bool added) {
  if (!HasMagnitude(stats)) return Tabulate([](int) { return 0.0; });
  const Below below(stats);
  const int lowest = stats.exponents.empty() ? 0 : stats.exponents.begin()->first;
  const int highest = stats.exponents.empty() ? 0 : stats.exponents.rbegin()->first;
  return Tabulate([&](int e) {
    const double vanishing = below.Share(kVanishesBelow, e);
    double small = kSubnormal * below.Share(kNormalExponent, e) + kVanishing * vanishing;
    if (added) {
      small *= 0.1;
    } else if (vanishing > kManyWeights) {
      small += kManyVanish;
    }
    double cost = 0.1 * kPerBit * std::abs(e) + small + PastLimit(std::ldexp(stats.abs_max, -e), kHalfMax);
    if (highest - e > kFloatHighest) cost += kImpossible;
    if (e > 0 && lowest - e < kFloatLowest) cost += kInexact;
    return cost;
  });
}

CostTable AttributeCost(float value, int times) {
  const int power = std::ilogb(value);
  return Tabulate([&](int e) {
    const int scaled = power + times * e;
    return scaled < kFloatLowest || scaled > kFloatHighest ? kImpossible : 0.0;
  });
}

CostTable InsertionCost(double nodes) {
  return Tabulate([&](int e) { return e == 0 ? 0.0 : nodes; });
}

}  // namespace halfsafe
