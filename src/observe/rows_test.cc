#include "observe/rows.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

namespace halfsafe {
namespace {

TEST(RowsTest, RunAlongAnyAxis) {
  const auto text = [](const RowAxis& axis) {
    const Rows rows = RowsAlong(axis, {2, 3, 5});
    return std::vector<int64_t>{rows.outer, rows.length, rows.inner};
  };
  EXPECT_EQ(text({0, false}), (std::vector<int64_t>{1, 2, 15}));
  EXPECT_EQ(text({1, false}), (std::vector<int64_t>{2, 3, 5}));
  EXPECT_EQ(text({-1, false}), (std::vector<int64_t>{6, 5, 1}));
  EXPECT_EQ(text({1, true}), (std::vector<int64_t>{2, 15, 1}));
}

TEST(RowsTest, TheSmallestOfTheRowsLargest) {
  const std::vector<float> values = {1.0f, -7.0f, 3.0f, -8.0f, 2.0f, -9.0f};  // 3 x 2
  EXPECT_EQ(SmallestRowMax(values.data(), {3, 2, 1}), 1.0);
  EXPECT_EQ(SmallestRowMax(values.data(), {1, 3, 2}), -7.0);
}

TEST(RowsTest, NanDoesNotCount) {
  const std::vector<float> values = {NAN, -2.0f, 5.0f, NAN};
  EXPECT_EQ(SmallestRowMax(values.data(), {2, 2, 1}), -2.0);
}

}  // namespace
}  // namespace halfsafe
