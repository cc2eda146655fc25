#include "verify/draws.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "halfsafe/half.h"

namespace halfsafe {
namespace {

constexpr double kSure = 3.0;

std::vector<float> Dithered(const std::vector<float>& values, DType dtype, uint32_t stream) {
  std::vector<float> moved(values.size());
  Dither(values.data(), 0, values.size(), dtype, stream, moved.data());
  return moved;
}

/// Values over FP16's whole range, subnormal ones too.
std::vector<float> Spread() {
  std::vector<float> values;
  for (int power = -26; power < 15; ++power) {
    for (int step = 0; step < 50; ++step)
      values.push_back(
          std::ldexp((step % 2 == 0 ? 1.0F : -1.0F) * (1.0F + static_cast<float>(step) / 50.0F), power));
  }
  return values;
}

/// The last place of FP16 at this value, from its definition: 11 bits, and 2^-24 at the least.
double LastPlaceOfHalf(float value) { return std::ldexp(1.0, std::max(std::ilogb(value), -14) - 10); }

TEST(DrawsTest, ValuesMoveByUpToAQuarterOfTheirLastPlace) {
  const std::vector<float> values = Spread();
  const std::vector<float> moved = Dithered(values, DType::kFloat16, DitherStream(1, 2, 3));
  double sum = 0.0, largest = 0.0;
  for (size_t i = 0; i < values.size(); ++i) {
    const double share = (static_cast<double>(moved[i]) - values[i]) / LastPlaceOfHalf(values[i]);
    EXPECT_LE(std::fabs(share), 0.25) << values[i];
    sum += share;
    largest = std::max(largest, std::fabs(share));
  }
  EXPECT_GT(largest, 0.24);
  // Uniform: the mean of so many has a standard deviation of 0.25 / sqrt(3 n).
  const auto count = static_cast<double>(values.size());
  EXPECT_LT(std::fabs(sum / count), 5.0 * 0.25 / std::sqrt(3.0 * count));
}

TEST(DrawsTest, WhatTheTypeHoldsRoundsToItself) {
  std::vector<float> values;
  for (uint32_t bits = 0; bits < 0x7C00; ++bits) values.push_back(HalfValue(static_cast<uint16_t>(bits)));
  const std::vector<float> moved = Dithered(values, DType::kFloat16, DitherStream(0, 1, 0));
  for (size_t i = 0; i < values.size(); ++i) EXPECT_EQ(RoundToHalf(moved[i]), values[i]);
  const std::vector<float> odd = {0.0F, INFINITY, -INFINITY, 1.0F, 3.0e38F};
  const std::vector<float> bfloat = Dithered(odd, DType::kBfloat16, DitherStream(0, 1, 0));
  for (size_t i = 0; i < 4; ++i) EXPECT_EQ(RoundToBfloat16(bfloat[i]), odd[i]);
  EXPECT_TRUE(std::isnan(Dithered({NAN}, DType::kFloat16, 7).front()));
}

TEST(DrawsTest, ANumberBelongsToAPlaceNotToABlock) {
  const std::vector<float> values = Spread();
  const uint32_t stream = DitherStream(5, 1, 9);
  std::vector<float> pieces(values.size());
  for (size_t begin = 0; begin < values.size(); begin += 100) {
    const size_t count = std::min<size_t>(100, values.size() - begin);
    Dither(values.data() + begin, begin, count, DType::kFloat16, stream, pieces.data() + begin);
  }
  EXPECT_EQ(pieces, Dithered(values, DType::kFloat16, stream));
  EXPECT_NE(pieces, Dithered(values, DType::kFloat16, DitherStream(5, 2, 9)));
  EXPECT_NE(pieces, Dithered(values, DType::kFloat16, DitherStream(6, 1, 9)));
  EXPECT_NE(pieces, Dithered(values, DType::kFloat16, DitherStream(5, 1, 8)));
}

TEST(DrawsTest, ClearFirstDrawsDecide) {
  EXPECT_FALSE(NeedsAnother(std::vector{0.3}, kSure));
  EXPECT_TRUE(NeedsAnother(std::vector{0.4}, kSure));
  EXPECT_TRUE(NeedsAnother(std::vector{2.9}, kSure));
  EXPECT_FALSE(NeedsAnother(std::vector{3.1}, kSure));
  EXPECT_FALSE(NeedsAnother(std::vector{static_cast<double>(INFINITY)}, kSure));
}

/// PP-OCR's recognition of one image, moved by half of FP16's rounding: the first draw of some orders is
/// right.
TEST(DrawsTest, ANearTieIsNotRightByLuck) {
  const std::vector<double> draws = {0.64, 1.6, 0.23, 1.3, 1.2, 2.0, 1.1, 0.57};
  for (size_t count = 1; count < draws.size(); ++count)
    EXPECT_TRUE(NeedsAnother(std::span(draws).first(count), kSure)) << count;
  EXPECT_FALSE(NeedsAnother(draws, kSure));
  EXPECT_GT(RootMeanSquare(draws), 1.0);
  EXPECT_FALSE(SurelyWithin(draws, 1.0, kSure));
}

TEST(DrawsTest, DrawsEndEarlyWhereTheyAreClear) {
  EXPECT_TRUE(SurelyBeyond(std::vector{2.0, 2.1, 1.9}, 1.0, kSure));
  EXPECT_FALSE(SurelyBeyond(std::vector{2.0, 0.2, 1.9}, 1.0, kSure));
  EXPECT_TRUE(NeedsAnother(std::vector{0.44, 0.45, 0.46}, kSure));
  EXPECT_FALSE(NeedsAnother(std::vector{0.44, 0.45, 0.46, 0.41}, kSure));
  EXPECT_TRUE(NeedsAnother(std::vector{0.44, 0.45, 0.56, 0.41}, kSure));
  EXPECT_TRUE(SurelyWithin(std::vector(kMostDraws, 0.7), 0.9, kSure));
  EXPECT_FALSE(SurelyWithin(std::vector(kMostDraws, 0.7), 0.7, kSure));
}

}  // namespace
}  // namespace halfsafe
