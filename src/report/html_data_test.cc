#include "report/html_data.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

namespace halfsafe {
namespace {

ReportTensor Tensor(const char* name, const TensorStats* stats) {
  ReportTensor tensor;
  tensor.name = name;
  tensor.dtype = DType::kFloat;
  tensor.stats = stats;
  return tensor;
}

nlohmann::ordered_json DataOf(const ReportGraph& graph) { return ReportData({}, {}, {graph, std::nullopt}); }

TEST(HtmlDataTest, FiguresHaveNoMoreDigitsThanFp32) {
  TensorStats stats;
  stats.count = 2;
  stats.abs_max = stats.max = static_cast<double>(0.1f);
  stats.min = -65536.0;
  stats.exponents = {{-4, 3}, {-2, 7}};
  const auto tensors = DataOf({{Tensor("x", &stats), Tensor("unseen", nullptr)}, {}})["original"]["tensors"];
  EXPECT_EQ(tensors["max"].dump(), "[0.1,null]");
  EXPECT_EQ(tensors["min"].dump(), "[-65536,null]");
  EXPECT_EQ(tensors["histogram"].dump(), "[[-4,3,0,7],null]");
  EXPECT_EQ(tensors["low"].dump(), "[-4,null]");
  EXPECT_EQ(tensors["p99"].dump(), "[-2,null]");
}

TEST(HtmlDataTest, WhatHasNoFiniteValueHasNoFigures) {
  TensorStats stats;
  stats.nan_count = 3;
  const auto tensors = DataOf({{Tensor("x", &stats)}, {}})["original"]["tensors"];
  EXPECT_EQ(tensors["abs_max"].dump(), "[null]");
  EXPECT_EQ(tensors["low"].dump(), "[null]");
  EXPECT_EQ(tensors["nan"].dump(), "[3]");
}

TEST(HtmlDataTest, NothingObservedMakesNoColumns) {
  EXPECT_FALSE(DataOf({{Tensor("x", nullptr)}, {}})["original"]["tensors"].contains("count"));
}

TEST(HtmlDataTest, NamesOfTheOriginalAreNumbersInTheFixedGraph) {
  const ReportGraph original{{Tensor("a", nullptr), Tensor("b", nullptr)}, {}};
  const ReportGraph fixed{{Tensor("b", nullptr), Tensor("b.fp16", nullptr)}, {}};
  const auto data = ReportData({}, {}, {original, fixed});
  EXPECT_EQ(data["fixed"]["tensors"]["name"].dump(), R"([1,"b.fp16"])");
}

TEST(HtmlDataTest, ErrorsAreColumnsOfSamples) {
  Report report;
  report.check.emplace();
  OutputError output;
  output.name = "y";
  output.samples = {{"s0", 50.0, 0.5, 1.0, 0, 0, 0.0, false},
                    {"s1", std::numeric_limits<double>::infinity(), std::numeric_limits<double>::infinity(),
                     2.0, 3, 0, 0.0, false}};
  report.check->fixed.outputs = {output};
  const auto data = ReportData(report, {}, {});
  ASSERT_EQ(data["errors"].size(), 1u);
  EXPECT_EQ(data["errors"][0]["model"], "fixed");
  EXPECT_EQ(data["errors"][0]["rel_l2"].dump(), "[0.5,null]");
  EXPECT_EQ(data["words"][data["errors"][0]["sample"][1].get<size_t>()], "s1");
}

}  // namespace
}  // namespace halfsafe
