#include "halfsafe/ranges.h"

#include <gtest/gtest.h>

#include "halfsafe/error.h"

namespace halfsafe {
namespace {

TensorStats Stats(double abs_max, const std::string& sample, uint64_t count) {
  TensorStats stats;
  stats.name = "x";
  stats.count = count;
  stats.min = -abs_max;
  stats.max = abs_max / 2;
  stats.abs_max = abs_max;
  stats.abs_max_sample = sample;
  stats.exponents[3] = count;
  stats.abs_sum = abs_max * static_cast<double>(count);
  stats.sum_bound = abs_max * 2;
  return stats;
}

RangeTable Table(std::initializer_list<TensorStats> tensors) {
  RangeTable table;
  table.model_sha256 = "abc";
  table.samples = 1;
  table.tensors = tensors;
  return table;
}

TEST(RangesTest, MergeDoesNotDependOnOrder) {
  const RangeTable a = Table({Stats(5, "b.npz", 2)}), b = Table({Stats(5, "a.npz", 3)}),
                   c = Table({Stats(1, "c.npz", 4)});
  const std::string expected = ToJson(MergeRanges({a, b, c}));
  EXPECT_EQ(ToJson(MergeRanges({c, b, a})), expected);
  EXPECT_EQ(ToJson(MergeRanges({MergeRanges({b, c}), a})), expected);
  EXPECT_NE(expected.find("\"abs_max_sample\":\"a.npz\""), std::string::npos);
}

TEST(RangesTest, SurvivesItsTextForm) {
  const std::string text = ToJson(Table({Stats(70000, "s", 9)}));
  EXPECT_EQ(ToJson(RangesFromJson(text, "test")), text);
}

TEST(RangesTest, EmptyTensorsHaveNoExtremes) {
  TensorStats empty;
  empty.name = "x";
  const std::string text = ToJson(Table({empty}));
  EXPECT_NE(text.find("\"min\":null,\"max\":null,\"abs_max\":null"), std::string::npos);
  EXPECT_EQ(ToJson(MergeRanges({Table({empty}), Table({Stats(2, "s", 1)})})),
            ToJson(MergeRanges({Table({Stats(2, "s", 1)}), Table({empty})})));
}

TEST(RangesTest, RefusesWhatIsNotItsFormat) {
  for (const char* text :
       {"", "{", "[]", "{\"format\":\"halfsafe-plan\",\"version\":1}",
        "{\"format\":\"halfsafe-ranges\",\"version\":2}",
        "{\"format\":\"halfsafe-ranges\",\"version\":1,\"model_sha256\":\"a\",\"samples\":-1}",
        ("{\"format\":\"halfsafe-ranges\",\"version\":1,\"model_sha256\":\"a\",\"samples\":1,\"tensors\":[{"
         "\"name\":1}]}")}) {
    EXPECT_THROW(RangesFromJson(text, "test"), Error) << text;
  }
  EXPECT_THROW(RangesFromJson(std::string(100000, '['), "test"), Error);
}

TEST(RangesTest, RefusesToMergeDifferentModels) {
  RangeTable other = Table({});
  other.model_sha256 = "def";
  EXPECT_THROW(MergeRanges({Table({}), other}), Error);
}

}  // namespace
}  // namespace halfsafe
