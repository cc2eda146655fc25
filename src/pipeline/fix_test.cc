#include <gtest/gtest.h>

#include "data/test_support.h"
#include "halfsafe/halfsafe.h"
#include "model/test_support.h"

namespace halfsafe {
namespace {

/// Past FP16 in the middle, and too small to be worth a Cast.
constexpr const char* kThereAndBack = R"(<ir_version: 8, opset_import: ["" : 17]>
    g (float[4] x) => (float[4] y) <float up = {100000}, float down = {0.00001}> {
      large = Mul(x, up)
      y = Mul(large, down)
    })";

TEST(Fix, LeavesAModelThatStaysFp32AsItIs) {
  const Model model = Loaded(ParsedProto(kThereAndBack));
  Progress silent;
  FixResult result = Fix(model, OneSample(), {}, &silent);
  EXPECT_TRUE(result.right);
  EXPECT_TRUE(result.only_fp32);
  EXPECT_TRUE(result.plan.tensors.empty());
  EXPECT_EQ(result.fixed.proto().graph().node_size(), 2);
  EXPECT_EQ(result.fixed.proto().graph().initializer(0).SerializeAsString(),
            model.proto().graph().initializer(0).SerializeAsString());
}

TEST(Fix, DropsPowersOfTwoWhenWideningLeavesNothingInFp16) {
  const Model model = Loaded(ParsedProto(kThereAndBack));
  FixOptions options;
  options.plan.io = Interface::kFp16;  // So that the plan starts in FP16, with an exponent.
  const RangeTable ranges = [&] {
    Progress silent;
    return Scan(model, OneSample(), options.scan, &silent);
  }();
  ASSERT_FALSE(MakePlan(model, ranges, options.plan).tensors.empty());
  options.check.tolerance.rel_l2 = 1e-9;  // No rounding is small enough.
  Progress silent;
  FixResult result = Fix(model, OneSample(), options, &silent);
  EXPECT_TRUE(result.only_fp32);
  EXPECT_FALSE(result.widenings.empty());
  EXPECT_TRUE(result.plan.tensors.empty());
}

TEST(DropUnused, KeepsWhatSixteenBitsNeed) {
  Plan plan;
  plan.nodes = {{"a", Precision::kFp32, "", ""}, {"b", Precision::kBf16, "", ""}};
  plan.tensors = {{"t", 3}};
  EXPECT_FALSE(DropUnused(&plan));
  EXPECT_EQ(plan.tensors.size(), 1u);
  plan.nodes.pop_back();
  EXPECT_TRUE(DropUnused(&plan));
  EXPECT_TRUE(plan.tensors.empty());
  EXPECT_FALSE(DropUnused(&plan));
}

}  // namespace
}  // namespace halfsafe
