#include "runtime/chain_kernel.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>
#include <random>
#include <vector>

namespace halfsafe {
namespace {

constexpr ChainOp kOps[] = {ChainOp::kAdd, ChainOp::kSub, ChainOp::kMul, ChainOp::kDiv, ChainOp::kMax,
                            ChainOp::kMin, ChainOp::kAbs, ChainOp::kNeg, ChainOp::kSqrt};

/// Ordinary values, and every kind of extraordinary one.
std::vector<float> RandomValues(size_t size, uint32_t seed) {
  constexpr float kInf = std::numeric_limits<float>::infinity();
  constexpr float kSpecial[] = {0.0f,   -0.0f, kInf, -kInf, std::numeric_limits<float>::quiet_NaN(),
                                1e-42f, -3e38f};
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::vector<float> values(size);
  for (float& value : values)
    value = random() % 4 == 0 ? kSpecial[random() % std::size(kSpecial)] : normal(random);
  return values;
}

void ExpectSameBits(const std::vector<float>& one, const std::vector<float>& other, ChainOp op) {
  for (size_t i = 0; i < one.size(); ++i) {
    if (std::isnan(one[i]) && std::isnan(other[i])) continue;
    ASSERT_EQ(std::bit_cast<uint32_t>(one[i]), std::bit_cast<uint32_t>(other[i]))
        << "operation " << static_cast<int>(op) << " at " << i;
  }
}

TEST(ChainKernelTest, EqualsItsScalarTwinOnAllSizesAndOperands) {
  for (const size_t size : {0, 1, 3, 15, 16, 17, 64, 1000, 4096}) {
    const std::vector<float> left = RandomValues(size + 1, 1), right = RandomValues(size + 1, 2);
    for (const ChainOp op : kOps) {
      for (const bool left_scalar : {false, true}) {
        for (const bool right_scalar : {false, true}) {
          const OperandBlock a{left.data(), left_scalar};
          const OperandBlock b = IsUnary(op) ? a : OperandBlock{right.data(), right_scalar};
          std::vector<float> fast(size), plain(size);
          ApplyStep(op, a, b, size, fast.data());
          ApplyStepScalar(op, a, b, size, plain.data());
          ExpectSameBits(fast, plain, op);
        }
      }
    }
  }
}

TEST(ChainKernelTest, WritesOverItsOperands) {
  const std::vector<float> left = RandomValues(1000, 1), right = RandomValues(1000, 2);
  for (const ChainOp op : kOps) {
    std::vector<float> expected(1000), over_left = left, over_right = right;
    ApplyStep(op, {left.data(), false}, {right.data(), false}, 1000, expected.data());
    ApplyStep(op, {over_left.data(), false}, {right.data(), false}, 1000, over_left.data());
    ApplyStep(op, {left.data(), false}, {over_right.data(), false}, 1000, over_right.data());
    ExpectSameBits(over_left, expected, op);
    ExpectSameBits(over_right, expected, op);
  }
}

TEST(ChainKernelTest, LimitsPassNanOnAndKeepTheZeroOfTheSecondOperand) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const auto apply = [](ChainOp op, float a, float b) {
    std::vector<float> out(32), left(32, a), right(32, b);
    ApplyStep(op, {left.data(), false}, {right.data(), false}, out.size(), out.data());
    return out[0];
  };
  for (const ChainOp op : {ChainOp::kMax, ChainOp::kMin}) {
    EXPECT_TRUE(std::isnan(apply(op, nan, 1.0f)));
    EXPECT_TRUE(std::isnan(apply(op, 1.0f, nan)));
    EXPECT_TRUE(std::signbit(apply(op, 0.0f, -0.0f)));
    EXPECT_FALSE(std::signbit(apply(op, -0.0f, 0.0f)));
  }
}

}  // namespace
}  // namespace halfsafe
