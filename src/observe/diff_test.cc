#include "halfsafe/diff.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace halfsafe {
namespace {

TensorStats Peak(const std::string& name, double abs_max, bool constant = false) {
  TensorStats stats;
  stats.name = name;
  stats.count = 1;
  stats.max = stats.abs_max = abs_max;
  stats.overflow_count = abs_max > 65504.0 ? 1 : 0;
  stats.constant = constant;
  return stats;
}

RangeTable Table(std::vector<TensorStats> tensors) {
  RangeTable table;
  table.model_sha256 = "a";
  table.samples = 1;
  table.tensors = std::move(tensors);
  return table;
}

TEST(LevelOfTest, NamesTheWorstLimitThatIsPassed) {
  EXPECT_EQ(LevelOf(Peak("x", 10000.0), 10000.0), RangeLevel::kWithin);
  EXPECT_EQ(LevelOf(Peak("x", 10001.0), 10000.0), RangeLevel::kPastThreshold);
  EXPECT_EQ(LevelOf(Peak("w", 10001.0, true), 10000.0), RangeLevel::kWithin);
  EXPECT_EQ(LevelOf(Peak("w", 70000.0, true), 10000.0), RangeLevel::kPastHalf);
  EXPECT_EQ(LevelOf(Peak("x", 70000.0), 1e6), RangeLevel::kPastHalf);
  TensorStats broken = Peak("x", 1.0);
  broken.nan_count = 1;
  EXPECT_EQ(LevelOf(broken, 10000.0), RangeLevel::kNotFinite);
}

TEST(DiffTest, EqualScansDontDiffer) {
  const RangeTable table = Table({Peak("x", 3.0), Peak("y", 1e6)});
  const RangesDiff diff = Diff(table, table);
  EXPECT_TRUE(diff.changes.empty());
  EXPECT_TRUE(diff.SameModel());
  EXPECT_FALSE(diff.NewOverflow());
  EXPECT_EQ(diff.common, 2u);
}

TEST(DiffTest, SaysWhatGrewAndWhatCameAndWent) {
  const RangesDiff diff =
      Diff(Table({Peak("gone", 1e5), Peak("x", 4.0), Peak("y", 70000.0), Peak("z", 0.0)}),
           Table({Peak("new", 20000.0), Peak("x", 32.0), Peak("y", 35000.0), Peak("z", 1.0)}));
  ASSERT_EQ(diff.changes.size(), 5u);
  EXPECT_EQ(diff.changes[0].name, "new");
  EXPECT_TRUE(diff.changes[0].Worse());
  EXPECT_FALSE(diff.changes[0].before);
  EXPECT_DOUBLE_EQ(*diff.changes[1].log2_factor, 3.0);
  EXPECT_FALSE(diff.changes[1].Worse() || diff.changes[1].Better());
  EXPECT_EQ(diff.changes[2].level_before, RangeLevel::kPastHalf);
  EXPECT_EQ(diff.changes[2].level_after, RangeLevel::kPastThreshold);
  EXPECT_TRUE(diff.changes[2].Better());
  EXPECT_FALSE(diff.changes[3].log2_factor);
  EXPECT_EQ(diff.changes[4].name, "gone");
  EXPECT_FALSE(diff.changes[4].Better());
  EXPECT_TRUE(diff.NewOverflow());
}

TEST(DiffTest, NewNaNsAreForTheWorseWhateverElseWasWrong) {
  TensorStats infinite = Peak("x", 1.0), both = Peak("x", 1.0);
  infinite.inf_count = both.inf_count = both.nan_count = 1;
  EXPECT_TRUE(Diff(Table({infinite}), Table({both})).NewOverflow());
  EXPECT_FALSE(Diff(Table({both}), Table({infinite})).NewOverflow());
  both.nan_count = 7;
  EXPECT_FALSE(Diff(Table({both}), Table({both})).NewOverflow());
}

TEST(DiffTest, TheOpsetMakesAModelAnother) {
  RangeTable raised = Table({});
  raised.opset = 22;
  EXPECT_FALSE(Diff(Table({}), raised).SameModel());
}

}  // namespace
}  // namespace halfsafe
