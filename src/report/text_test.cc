#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/json.h"
#include "report/report.h"

namespace halfsafe {
namespace {

ModelErrors Errors(double rel_l2, bool right) {
  ModelErrors errors;
  errors.right = right;
  OutputError& output = errors.outputs.emplace_back();
  output.name = "y";
  output.rel_l2 = rel_l2;
  output.right = right;
  return errors;
}

Report Checked() {
  Report report;
  report.command = "check";
  report.check.emplace();
  report.check->samples = 1;
  report.check->plain = Errors(0.5, false);
  report.check->fixed = Errors(0.001, true);
  return report;
}

TEST(TextTest, WithoutAGpuNothingIsSaidOfIt) {
  EXPECT_THAT(ToText(Checked(), 120, false), testing::Not(testing::HasSubstr("GPU")));
  EXPECT_TRUE(ParseJson(ToJson(Checked()), "result")["cuda"].is_null());
}

TEST(TextTest, ErrorsOnTheGpuStandBesideTheEmulations) {
  Report report = Checked();
  report.check->device = DeviceErrors{Errors(0.25, false), Errors(0.002, true)};
  const std::string text = ToText(report, 120, false);
  EXPECT_THAT(text, testing::ContainsRegex("output .*plain FP16 .*fixed .*plain FP16 on GPU .*fixed on GPU"));
  EXPECT_THAT(text, testing::ContainsRegex("y .*0\\.5 .*1\\.00e-03 .*0\\.25 .*2\\.00e-03 .* right"));
  const auto json = ParseJson(ToJson(report), "result");
  EXPECT_EQ(json["cuda"]["fixed_model"]["outputs"][0]["rel_l2"], 0.002);
  EXPECT_EQ(json["cuda"]["plain_fp16"]["outputs"][0]["rel_l2"], 0.25);
}

TEST(TextTest, AModelThatIsWrongOnTheGpuAloneIsNotRight) {
  Report report = Checked();
  report.check->device = DeviceErrors{std::nullopt, Errors(0.02, false)};
  EXPECT_FALSE(report.check->Right());
  EXPECT_THAT(ToText(report, 120, false),
              testing::AllOf(testing::HasSubstr("NOT RIGHT"), testing::HasSubstr("--accumulate")));
  report.check->device->fixed = {};
  report.check->device->fixed.right = false;
  report.check->device->fixed.failure = "no kernel";
  const std::string text = ToText(report, 120, false);
  EXPECT_THAT(text, testing::HasSubstr("fixed on GPU does not run: no kernel"));
  EXPECT_THAT(text, testing::HasSubstr("NOT RIGHT"));
  EXPECT_THAT(text, testing::Not(testing::HasSubstr("--accumulate")));
}

TEST(TextTest, SamplesThatWereLeftOutAreCountedAmongAll) {
  Report report;
  report.samples = 3;
  report.skipped = {{"b.npz", "NaN"}, {"d.npz", "NaN"}};
  EXPECT_THAT(ToText(report, 120, false), testing::HasSubstr("Skipped 2 bad samples of 5:\n"));
}

}  // namespace
}  // namespace halfsafe
