#include "plan/integer_system.h"

#include <algorithm>
#include <cstdlib>
#include <limits>
#include <numeric>

namespace halfsafe {

void AddTo(LinearSum* sum, const LinearSum& other, int factor) {
  LinearSum result;
  auto a = sum->begin();
  auto b = other.begin();
  while (a != sum->end() || b != other.end()) {
    LinearTerm term;
    if (b == other.end() || (a != sum->end() && a->variable < b->variable)) {
      term = *a++;
    } else if (a == sum->end() || b->variable < a->variable) {
      term = {b->variable, factor * b->factor};
      ++b;
    } else {
      term = {a->variable, a->factor + factor * b->factor};
      ++a, ++b;
    }
    if (term.factor != 0) result.push_back(term);
  }
  *sum = std::move(result);
}

int IntegerSystem::AddVariable() {
  value_.emplace_back();
  solved_.push_back(false);
  users_.emplace_back();
  return static_cast<int>(joined_.Add());
}

// The earliest variable stands for all, so that the order of the graph stays the order of the search.
int IntegerSystem::Representative(int variable) const {
  return static_cast<int>(joined_.First(static_cast<size_t>(variable)));
}

void IntegerSystem::Join(int a, int b) { joined_.Join(static_cast<size_t>(a), static_cast<size_t>(b)); }

LinearSum IntegerSystem::Resolve(const LinearSum& sum) const {
  LinearSum result;
  for (const LinearTerm& term : sum) {
    const int variable = Representative(term.variable);
    const size_t number = static_cast<size_t>(variable);
    AddTo(&result, solved_[number] ? value_[number] : LinearSum{{variable, 1}}, term.factor);
  }
  return result;
}

void IntegerSystem::Solve(int variable, LinearSum value) {
  const size_t number = static_cast<size_t>(variable);
  for (const int user : users_[number]) {
    LinearSum& old = value_[static_cast<size_t>(user)];
    const auto at = std::find_if(old.begin(), old.end(),
                                 [&](const LinearTerm& term) { return term.variable == variable; });
    if (at == old.end()) continue;
    const int factor = at->factor;
    old.erase(at);
    AddTo(&old, value, factor);
    for (const LinearTerm& term : value) users_[static_cast<size_t>(term.variable)].push_back(user);
  }
  for (const LinearTerm& term : value) users_[static_cast<size_t>(term.variable)].push_back(variable);
  users_[number].clear();
  value_[number] = std::move(value);
  solved_[number] = true;
}

void IntegerSystem::Require(const LinearSum& sum, int spare) {
  LinearSum left = Resolve(sum);
  if (left.empty()) return;
  int divisor = 0;
  for (const LinearTerm& term : left) divisor = std::gcd(divisor, term.factor);
  if (divisor > 1) {
    for (LinearTerm& term : left) term.factor /= divisor;
  }
  // The last that can be solved for: results are expressed by what they are computed from. A long product of
  // results would name them all, and the next one all these and one more: there the spare variable is solved
  // for, and the result stays free.
  constexpr size_t kLongest = 64;
  const bool long_sum = left.size() > kLongest;
  const auto solvable = [](const LinearTerm& term) { return std::abs(term.factor) == 1; };
  auto pivot = std::find_if(left.rbegin(), left.rend(), [&](const LinearTerm& term) {
    return solvable(term) && (!long_sum || term.variable == spare);
  });
  if (pivot == left.rend()) pivot = std::find_if(left.rbegin(), left.rend(), solvable);
  if (pivot == left.rend()) {
    for (const LinearTerm& term : left) {
      if (!solved_[static_cast<size_t>(term.variable)]) Solve(term.variable, {});
    }
    return;
  }
  const LinearTerm solved = *pivot;
  left.erase(std::next(pivot).base());
  for (LinearTerm& term : left) term.factor *= -solved.factor;
  Solve(solved.variable, std::move(left));
}

namespace {

/// Keeps the value of every sum, and what a change of one variable does to all that name it.
class Descent {
 public:
  Descent(size_t variables, const std::vector<CostTerm>& terms)
      : terms_(terms), uses_(variables), sums_(terms.size(), 0), values_(variables, 0) {
    for (size_t term = 0; term < terms.size(); ++term) {
      for (const LinearTerm& part : terms[term].sum)
        uses_[static_cast<size_t>(part.variable)].push_back({term, part.factor});
    }
  }

  std::vector<int> Run(size_t last_resorts) {
    Settle(last_resorts);
    Settle(0);
    return values_;
  }

 private:
  struct Use {
    size_t term;
    int factor;
  };

  void Settle(size_t first) {
    constexpr int kMostSweeps = 50;  // Each lowers the cost; few are ever needed.
    bool changed = true;
    for (int sweep = 0; changed && sweep < kMostSweeps; ++sweep) {
      changed = false;
      for (size_t variable = first; variable < values_.size(); ++variable) changed |= Improve(variable);
    }
  }

  double CostOf(size_t term, int sum) const {
    if (std::abs(sum) > kLargestExponent) return std::numeric_limits<double>::infinity();
    return terms_[term].cost[static_cast<size_t>(sum + kLargestExponent)];
  }

  bool Improve(size_t variable) {
    double least = std::numeric_limits<double>::infinity();
    const auto cost_at = [&](int step) {
      double cost = 0.0;
      for (const Use& use : uses_[variable]) {
        cost += CostOf(use.term, sums_[use.term] + step * use.factor);
        if (cost >= least) break;
      }
      return cost;
    };
    constexpr double kWorthwhile = 1e-6;
    int best = 0;
    least = cost_at(0) - kWorthwhile;
    for (int value = -kLargestExponent; value <= kLargestExponent; ++value) {
      const int step = value - values_[variable];
      if (step == 0) continue;
      if (const double cost = cost_at(step); cost < least) {
        least = cost;
        best = step;
      }
    }
    if (best == 0) return false;
    for (const Use& use : uses_[variable]) sums_[use.term] += best * use.factor;
    values_[variable] += best;
    return true;
  }

  const std::vector<CostTerm>& terms_;
  std::vector<std::vector<Use>> uses_;  ///< Per variable.
  std::vector<int> sums_;               ///< Per term.
  std::vector<int> values_;             ///< Per variable.
};

}  // namespace

std::vector<int> MinimizeByCoordinates(size_t variables, size_t last_resorts,
                                       const std::vector<CostTerm>& terms) {
  return Descent(variables, terms).Run(last_resorts);
}

}  // namespace halfsafe
