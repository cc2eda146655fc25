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

}  // namespace
}  // namespace halfsafe
