#include "plan/integer_system.h"

#include <gtest/gtest.h>

namespace halfsafe {
namespace {

TEST(IntegerSystem, ResolvesByWhatIsFree) {
  IntegerSystem system;
  const int a = system.AddVariable(), b = system.AddVariable(), product = system.AddVariable();
  system.Require({{a, 1}, {b, 1}, {product, -1}});
  const LinearSum resolved = system.Resolve({{product, 2}});
  ASSERT_EQ(resolved.size(), 2);
  EXPECT_EQ(resolved[0].variable, a);
  EXPECT_EQ(resolved[0].factor, 2);
  EXPECT_EQ(resolved[1].variable, b);
}

/// Each product is the one before times another factor: put into one another, the sums would have as many
/// terms as there are products.
TEST(IntegerSystem, LongProductsHaveShortSums) {
  constexpr int kProducts = 20000;
  IntegerSystem system;
  std::vector<int> slacks, results;
  for (int i = 0; i < kProducts; ++i) slacks.push_back(system.AddVariable());
  results.push_back(system.AddVariable());
  size_t terms = 0, free_results = 0;
  for (int i = 0; i < kProducts; ++i) {
    const int factor = system.AddVariable();
    results.push_back(system.AddVariable());
    const int before = results[results.size() - 2], after = results.back(),
              slack = slacks[static_cast<size_t>(i)];
    // The slack stands before the result, as in ExponentProblem.
    system.Require({{slack, 1}, {before, 1}, {factor, 1}, {after, -1}}, slack);
    const LinearSum resolved = system.Resolve({{after, 1}});
    terms += resolved.size();
    free_results += resolved.size() == 1 && resolved[0].variable == after ? 1 : 0;
    // What is required holds.
    EXPECT_TRUE(system.Resolve({{slack, 1}, {before, 1}, {factor, 1}, {after, -1}}).empty());
  }
  EXPECT_LE(terms, size_t{100} * kProducts);
  EXPECT_GT(free_results, 0);
  EXPECT_LT(free_results, kProducts / 10);
}

}  // namespace
}  // namespace halfsafe
