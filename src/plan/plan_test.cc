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

}  // namespace
}  // namespace halfsafe
