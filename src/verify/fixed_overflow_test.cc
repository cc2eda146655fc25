#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "halfsafe/check.h"

namespace halfsafe {
namespace {

TensorStats Stats(const std::string& name, DType dtype, double abs_max, uint64_t infinite = 0,
                  uint64_t nans = 0) {
  TensorStats stats;
  stats.name = name;
  stats.dtype = dtype;
  stats.count = 1;
  stats.abs_max = abs_max;
  stats.inf_count = infinite;
  stats.nan_count = nans;
  return stats;
}

RangeTable Table(std::vector<TensorStats> tensors) {
  RangeTable table;
  table.tensors = std::move(tensors);
  return table;
}

std::vector<std::string> Overflowing(const RangeTable& fixed, const RangeTable* original) {
  std::vector<std::string> names;
  for (const TensorStats& stats : OverflowOfFixed(fixed, original, 10000.0)) names.push_back(stats.name);
  return names;
}

TEST(OverflowOfFixedTest, OnlyWhatIsStoredInFp16Counts) {
  const RangeTable fixed =
      Table({Stats("half", DType::kFloat16, 20000.0), Stats("edge", DType::kFloat16, 10000.0),
             Stats("single", DType::kFloat, 1e6), Stats("brain", DType::kBfloat16, 1e6, 1)});
  EXPECT_THAT(Overflowing(fixed, nullptr), testing::ElementsAre("half"));
}

TEST(OverflowOfFixedTest, WhatTheOriginalHasIsNotNew) {
  const RangeTable original = Table({Stats("a", DType::kFloat, 1.0, 1), Stats("b", DType::kFloat, 1.0, 1)});
  const RangeTable fixed =
      Table({Stats("a", DType::kFloat16, 1.0, 3), Stats("a.fp16", DType::kFloat16, 1.0, 3),
             Stats("b", DType::kFloat16, 1.0, 1, 1), Stats("c", DType::kFloat16, 1.0, 1)});
  EXPECT_THAT(Overflowing(fixed, &original), testing::ElementsAre("b", "c"));
  EXPECT_THAT(Overflowing(fixed, nullptr), testing::ElementsAre("a", "a.fp16", "b", "c"));
}

TEST(OverflowOfFixedTest, ConstantsAreWhatFp16HoldsOfThem) {
  TensorStats weight = Stats("w", DType::kFloat16, 60000.0);
  weight.constant = true;
  EXPECT_THAT(Overflowing(Table({weight}), nullptr), testing::IsEmpty());
  weight.inf_count = 1;
  EXPECT_THAT(Overflowing(Table({weight}), nullptr), testing::ElementsAre("w"));
}

}  // namespace
}  // namespace halfsafe
