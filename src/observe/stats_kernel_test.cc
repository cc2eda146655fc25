#include "observe/stats_kernel.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include "halfsafe/half.h"

namespace halfsafe {
namespace {

void ExpectSame(const BlockStats& fast, const BlockStats& plain) {
  EXPECT_EQ(fast.finite, plain.finite);
  EXPECT_EQ(fast.nan, plain.nan);
  EXPECT_EQ(fast.inf, plain.inf);
  EXPECT_EQ(fast.overflow, plain.overflow);
  EXPECT_EQ(fast.subnormal, plain.subnormal);
  EXPECT_EQ(fast.min, plain.min);
  EXPECT_EQ(fast.max, plain.max);
  EXPECT_NEAR(fast.abs_sum, plain.abs_sum, 1e-4 * plain.abs_sum);
  EXPECT_EQ(fast.exponents, plain.exponents);
  EXPECT_EQ(fast.rare_exponents, plain.rare_exponents);
}

void ExpectSame(const std::vector<float>& values) {
  BlockStats fast, plain, wide;
  AddValues(values.data(), values.size(), &fast);
  AddValuesScalar(values.data(), values.size(), &plain);
  const std::vector<double> doubles(values.begin(), values.end());
  AddValuesScalar(doubles.data(), doubles.size(), &wide);
  ExpectSame(fast, plain);
  ExpectSame(plain, wide);
}

TEST(StatsKernelTest, EqualsItsScalarTwinOnAllSizes) {
  std::mt19937 random(7);
  std::normal_distribution<float> normal;
  for (const size_t size : {0, 1, 3, 7, 8, 15, 16, 17, 31, 64, 100, 4095, 4096, 4097, 10000, 70000}) {
    std::vector<float> values(size);
    for (float& value : values)
      value = normal(random) * std::ldexp(1.0f, static_cast<int>(random() % 40) - 20);
    ExpectSame(values);
  }
}

TEST(StatsKernelTest, EqualsItsScalarTwinOnAnyBits) {
  std::mt19937 random(8);
  std::vector<float> values(50000);
  for (float& value : values) value = std::bit_cast<float>(static_cast<uint32_t>(random()));
  ExpectSame(values);
}

TEST(StatsKernelTest, EqualsItsScalarTwinAtTheEdges) {
  std::vector<float> edges = {0.0f,
                              -0.0f,
                              kHalfMax,
                              std::nextafter(kHalfMax, INFINITY),
                              kHalfOverflow,
                              kHalfRoundsToNormal,
                              std::nextafter(kHalfRoundsToNormal, 0.0f),
                              kHalfMinNormal,
                              kHalfMinSubnormal,
                              0x1p-126f,
                              0x1p-149f,
                              std::numeric_limits<float>::max(),
                              INFINITY,
                              -INFINITY,
                              NAN};
  for (size_t i = 0; i < edges.size(); ++i) {
    std::vector<float> values(64, 1.0f);
    values[i % 64] = edges[i];
    values[63 - i % 64] = -edges[i];
    ExpectSame(values);
  }
  for (int copies = 0; copies < 12; ++copies) edges.insert(edges.end(), edges.begin(), edges.begin() + 15);
  ExpectSame(edges);
}

TEST(StatsKernelTest, CountsWhatTheLimitsSay) {
  const std::vector<float> values = {65504.0f, 65505.0f, -65520.0f, 0.0f, 6e-5f,
                                     0x1p-14f, 1e-9f,    INFINITY,  NAN,  -3.0f};
  BlockStats stats;
  AddValues(values.data(), values.size(), &stats);
  EXPECT_EQ(stats.finite, 8u);
  EXPECT_EQ(stats.inf, 1u);
  EXPECT_EQ(stats.nan, 1u);
  EXPECT_EQ(stats.overflow, 2u);
  EXPECT_EQ(stats.subnormal, 2u);  // 6e-5 lies below 2^-14 = 6.1e-5, and 1e-9 vanishes.
  EXPECT_EQ(stats.min, -65520.0);
  EXPECT_EQ(stats.max, 65505.0);
  EXPECT_EQ(stats.exponents[127 + 15], 3u);
  EXPECT_EQ(stats.exponents[127 + 1], 1u);
}

TEST(StatsKernelTest, DoublesKeepTheirRange) {
  const std::vector<double> values = {1e300, -1e-300, 5e-324};
  BlockStats stats;
  AddValuesScalar(values.data(), values.size(), &stats);
  EXPECT_EQ(stats.max, 1e300);
  EXPECT_EQ(stats.rare_exponents.at(996), 1u);
  EXPECT_EQ(stats.rare_exponents.at(-1074), 1u);
}

}  // namespace
}  // namespace halfsafe
