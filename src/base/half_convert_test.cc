#include "base/half_convert.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <random>
#include <vector>

#include "halfsafe/half.h"

namespace halfsafe {
namespace {

/// Floats that probe every rounding decision: halves, the midpoints between neighbours, and what lies just
/// beside them.
std::vector<float> Probes() {
  std::vector<float> values = {1e5f, -1e5f,    65519.0f, 65520.0f, 0x1p-25f, std::nextafter(0x1p-25f, 1.0f),
                               NAN,  INFINITY, 0x1p-149f};
  for (uint32_t bits = 0; bits < 0x7C00; ++bits) {
    const float low = HalfValue(static_cast<uint16_t>(bits)),
                high = HalfValue(static_cast<uint16_t>(bits + 1));
    const float middle = std::isinf(high) ? kHalfOverflow : (low + high) / 2;
    for (const float value : {low, middle, std::nextafter(middle, 0.0f), std::nextafter(middle, 1e9f)}) {
      values.push_back(value);
      values.push_back(-value);
    }
  }
  std::mt19937 random(3);
  for (int i = 0; i < 200000; ++i) values.push_back(std::bit_cast<float>(static_cast<uint32_t>(random())));
  return values;
}

TEST(HalfConvertTest, VectorsAgreeWithTheDefinition) {
  const std::vector<float> values = Probes();
  std::vector<float> rounded(values.size());
  std::vector<uint16_t> bits(values.size());
  EXPECT_FALSE(RoundValuesToHalf(values.data(), values.size(), rounded.data()));
  FloatsToHalf(values.data(), values.size(), bits.data());
  for (size_t i = 0; i < values.size(); ++i) {
    if (std::isnan(values[i])) {
      EXPECT_TRUE(std::isnan(rounded[i]));
      EXPECT_TRUE(std::isnan(HalfValue(bits[i])));
      continue;
    }
    ASSERT_EQ(std::bit_cast<uint32_t>(rounded[i]), std::bit_cast<uint32_t>(RoundToHalf(values[i])))
        << values[i];
    ASSERT_EQ(bits[i], HalfBits(values[i])) << values[i];
  }
}

TEST(HalfConvertTest, EveryHalfSurvives) {
  std::vector<uint16_t> bits(65536), back(65536);
  std::vector<float> values(65536);
  for (size_t i = 0; i < bits.size(); ++i) bits[i] = static_cast<uint16_t>(i);
  HalfToFloats(bits.data(), bits.size(), values.data());
  FloatsToHalf(values.data(), values.size(), back.data());
  for (size_t i = 0; i < bits.size(); ++i) {
    if (std::isnan(values[i])) continue;
    ASSERT_EQ(back[i], bits[i]);
    ASSERT_EQ(values[i], HalfValue(bits[i]));
  }
}

TEST(HalfConvertTest, TellsWhetherAllIsFinite) {
  std::vector<float> values(37, 1.0f), out(37);
  EXPECT_TRUE(RoundValuesToHalf(values.data(), values.size(), out.data()));
  values[36] = 1e5f;
  EXPECT_FALSE(RoundValuesToHalf(values.data(), values.size(), out.data()));
  EXPECT_TRUE(std::isinf(out[36]));
  EXPECT_TRUE(RoundValuesToBfloat16(values.data(), values.size(), out.data()));
  EXPECT_EQ(out[36], 99840.0f);
}

}  // namespace
}  // namespace halfsafe
