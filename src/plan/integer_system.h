#pragma once

#include <functional>
#include <vector>

#include "base/disjoint_sets.h"

namespace halfsafe {

/// factor * variable.
struct LinearTerm {
  int variable = 0;
  int factor = 0;
};

/// A sum of terms, sorted by variable, none of factor 0.
using LinearSum = std::vector<LinearTerm>;

/// Adds factor * `other` to `sum`.
void AddTo(LinearSum* sum, const LinearSum& other, int factor);

/// Integer variables under homogeneous linear equations, so that all zero is always a solution. Equal
/// variables are joined first; equations are then solved for one variable each, by elimination. An equation
/// that no variable solves in whole numbers (3 a = 2 b) fixes all of its variables at zero.
class IntegerSystem {
 public:
  int AddVariable();
  /// a = b.
  void Join(int a, int b);
  /// sum = 0. Only after the last Join. Where `spare` is one of its variables, sums stay short: those of long
  /// chains of equations are not put into one another any further.
  void Require(const LinearSum& sum, int spare = -1);

  /// The variable that stands for all that were joined with this one.
  int Representative(int variable) const;
  /// The sum in terms of free variables.
  LinearSum Resolve(const LinearSum& sum) const;

 private:
  void Solve(int variable, LinearSum value);

  DisjointSets joined_;
  std::vector<LinearSum> value_;  ///< Per solved variable, in free ones.
  std::vector<bool> solved_;
  std::vector<std::vector<int>> users_;  ///< Per free variable: solved ones whose value may name it.
};

/// A cost that depends on a sum: `cost[value + kLargestExponent]`.
struct CostTerm {
  LinearSum sum;  ///< In free variables.
  std::vector<float> cost;
};

/// Exponents are searched from -kLargestExponent to kLargestExponent: FP32's normal range is twice that.
inline constexpr int kLargestExponent = 63;

/// Values of `variables` variables that no change of a single one makes cheaper, starting from zero. The
/// first `last_resorts` variables stay at zero until the others have settled. Costs of values beyond the
/// table's ends are infinite.
std::vector<int> MinimizeByCoordinates(size_t variables, size_t last_resorts,
                                       const std::vector<CostTerm>& terms);

}  // namespace halfsafe
