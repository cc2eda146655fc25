#include <gtest/gtest.h>

#include "halfsafe/halfsafe.h"
#include "model/test_support.h"

namespace halfsafe {
namespace {

/// What reads the constant too is the model's output, which is no node to keep in FP32.
TEST(Plan, TakesAVanishingConstantThatIsAnOutput) {
  const Model model = Loaded(ParsedProto(R"(<ir_version: 8, opset_import: ["" : 17]>
    g (float[1] x) => (float[1] y, float[1] tiny) <float[1] tiny = {1e-20}> { y = Max(x, tiny) })"));
  const Plan plan = MakePlan(model, ScanConstants(model), {});
  ASSERT_EQ(plan.nodes.size(), 1u);
  EXPECT_EQ(plan.nodes[0].precision, Precision::kFp32);
}

/// A plan as text, "NODE PRECISION REASON" a line, for a model of which each tensor has the largest |x|
/// beside it.
std::string PlanText(const Model& model, const std::vector<std::pair<std::string, double>>& largest,
                     const PlanOptions& options) {
  RangeTable ranges = ScanConstants(model);
  ranges.samples = 1;
  for (const auto& [name, value] : largest) {
    TensorStats stats;
    stats.name = name;
    stats.count = 4;
    stats.abs_max = stats.max = value;
    stats.min = -value;
    stats.overflow_count = value > 65504.0 ? 1 : 0;
    ranges.tensors.push_back(stats);
  }
  std::string text;
  for (const NodePlan& node : MakePlan(model, ranges, options).nodes)
    text += node.name + " " + std::string(PrecisionName(node.precision)) + " " + node.reason + "\n";
  return text;
}

Model Squares() {
  return Loaded(ParsedProto(R"(<ir_version: 10, opset_import: ["" : 23]>
    g (float[4] x) => (float[4] y) { a = Abs(x)
      b = Exp(a)
      c = Sqrt(b)
      y = Neg(c) })"));
}

TEST(Plan, OffersBf16OnlyWhereItIsAskedFor) {
  const std::vector<std::pair<std::string, double>> largest = {
      {"x", 12}, {"a", 12}, {"b", 1e5}, {"c", 316}, {"y", 316}};
  PlanOptions options;
  options.free_casts = true;
  EXPECT_EQ(PlanText(Squares(), largest, options),
            "a fp16 safe\nb fp32 overflow\nc fp32 overflow\ny fp16 safe\n");
  options.repair = Repair::kBf16;
  EXPECT_EQ(PlanText(Squares(), largest, options),
            "a fp16 safe\nb bf16 overflow\nc bf16 overflow\ny fp16 safe\n");
}

/// Two Casts around one small node cost more than BF16 saves.
TEST(Plan, Bf16PaysForItsCasts) {
  PlanOptions options;
  options.repair = Repair::kBf16;
  options.keep_nodes = {"a", "y"};
  const std::vector<std::pair<std::string, double>> largest = {
      {"x", 12}, {"a", 12}, {"b", 1e5}, {"c", 316}, {"y", 316}};
  EXPECT_EQ(PlanText(Squares(), largest, options),
            "a fp32 user\nb fp32 overflow\nc fp32 overflow\ny fp32 user\n");
}

}  // namespace
}  // namespace halfsafe
