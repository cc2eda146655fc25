#include "verify/compare.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

namespace halfsafe {
namespace {

OutputView ViewOf(const std::vector<float>& values) {
  OutputView view;
  view.tensors.push_back({DType::kFloat,
                          {static_cast<int64_t>(values.size())},
                          values.data(),
                          values.size(),
                          values.size() * sizeof(float),
                          nullptr});
  return view;
}

OutputError Compared(const std::vector<float>& reference, const std::vector<float>& output) {
  OutputError error;
  AddSample({CompareOutput(ViewOf(reference), ViewOf(output), "sample", {}, nullptr)}, "sample", &error);
  return error;
}

TEST(CompareTest, ErrorIsTheRelativeNormOfTheDifference) {
  const OutputError error = Compared({3.0f, 4.0f}, {3.0f, 4.5f});
  EXPECT_DOUBLE_EQ(error.rel_l2, 0.5 / 5.0);
  EXPECT_DOUBLE_EQ(error.max_abs, 0.5);
  EXPECT_FALSE(error.right);
  EXPECT_TRUE(Compared({3.0f, 4.0f}, {3.0f, 4.001f}).right);
}

/// What FP32 has that is not finite has to be the same; what it has finite has to stay so.
TEST(CompareTest, InfinitiesAndNanAreComparedToo) {
  EXPECT_TRUE(Compared({1.0f, INFINITY, NAN}, {1.0f, INFINITY, NAN}).right);
  for (const float other : {0.0f, -INFINITY, NAN}) {
    const OutputError error = Compared({1.0f, INFINITY}, {1.0f, other});
    EXPECT_FALSE(error.right) << other;
    EXPECT_NE(error.problem, "") << other;
  }
  EXPECT_FALSE(Compared({1.0f, NAN}, {1.0f, 2.0f}).right);
  const OutputError lost = Compared({1.0f, 2.0f}, {1.0f, INFINITY});
  EXPECT_FALSE(lost.right);
  EXPECT_EQ(lost.new_nonfinite, 1u);
  EXPECT_EQ(lost.rel_l2, INFINITY);
}

TEST(CompareTest, AnotherShapeHasNoGoodLookingError) {
  const OutputError error = Compared({1.0f, 2.0f}, {1.0f});
  EXPECT_FALSE(error.right);
  EXPECT_EQ(error.rel_l2, INFINITY);
  EXPECT_TRUE(std::isnan(error.cosine));
  EXPECT_EQ(error.flip_share, 1.0);
}

/// What isn't to be chosen is -1e9, or thereabouts; beside it everything is small in any norm.
TEST(CompareTest, AMaskHidesNothing) {
  EXPECT_FALSE(Compared({1.0f, 2.0f, -1e9f}, {1.5f, 2.0f, -1e9f}).right);
  EXPECT_EQ(Compared({1.0f, -1e9f}, {1.5f, -1e9f}).worst_part->where, "output beside its mask");
  EXPECT_TRUE(Compared({1.0f, 2.0f, -1e9f}, {1.001f, 2.0f, -1e9f}).right);
  EXPECT_FALSE(Compared({1.0f, -1e9f}, {1.0f, -1.1e9f}).right);
  // Large numbers that differ are none.
  EXPECT_TRUE(Compared({1.0f, -1e9f, -1e8f}, {1.5f, -1e9f, -1e8f}).right);
}

TEST(CompareTest, SquaresThatAreInfiniteAreNotRight) {
  const std::vector<double> one = {1e200, 2e200}, other = {-3e200, 2e200}, near = {1.001e200, 2e200};
  const auto view = [](const std::vector<double>& values) {
    OutputView result;
    result.tensors.push_back({DType::kDouble, {2}, values.data(), 2, 2 * sizeof(double), nullptr});
    return result;
  };
  EXPECT_GT(CompareOutput(view(one), view(other), "s", {}, nullptr).distance, 1.0);
  EXPECT_LT(CompareOutput(view(one), view(near), "s", {}, nullptr).distance, 1.0);
}

/// A choice may fall otherwise under another rounding, and is judged under the nearest.
TEST(CompareTest, ChoicesAreJudgedRoundedToTheNearest) {
  Difference same, flipped;
  same.dtype = flipped.dtype = DType::kInt64;
  flipped.distance = 1e12;
  OutputError error;
  EXPECT_TRUE(AddSample({same, flipped, same}, "s", &error).right);
  EXPECT_TRUE(error.right);
  EXPECT_TRUE(error.on_edge);
  EXPECT_FALSE(AddSample({flipped, same, same}, "s", &error).right);
}

}  // namespace
}  // namespace halfsafe
