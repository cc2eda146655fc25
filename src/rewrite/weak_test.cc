#include "halfsafe/rewrite.h"
#include "model/test_support.h"

namespace halfsafe {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

class WeakTest : public testing::Test {
 protected:
  WeakTest() : model_(Named()) {}

  static Model Named() {
    onnx::ModelProto proto = ParsedProto(R"(<ir_version: 8, opset_import: ["": 17]>
        g (float[4] x, float[4] w) => (float[4] y) {
          a = Mul (x, w)
          b = Relu (a)
          y = Exp (b)
        })");
    proto.mutable_graph()->mutable_node(2)->set_name("exp");
    return Loaded(proto);
  }

  /// `b` stored as b * 2^-exponent, which Exp can't read as it is.
  std::vector<PinnedNode> Pinned(int exponent, Precision relu, Precision exp) const {
    Plan plan;
    plan.model_sha256 = model_.sha256();
    plan.nodes = {
        {"a", Precision::kFp16, "safe", ""}, {"b", relu, "overflow", ""}, {"exp", exp, "overflow", ""}};
    plan.tensors = {{"a", exponent}, {"b", exponent}};
    return ApplyWeakly(model_, plan).pinned;
  }

  static std::vector<std::string> Names(const std::vector<PinnedNode>& nodes) {
    std::vector<std::string> names;
    for (const PinnedNode& node : nodes) names.push_back(node.name);
    return names;
  }

  const Model model_;
};

TEST_F(WeakTest, NothingIsPinnedWhereAllIsFp16) {
  EXPECT_THAT(Pinned(3, Precision::kFp16, Precision::kFp16), IsEmpty());
}

TEST_F(WeakTest, PlannedNodesGoByTheirNamesAndWhatTheyWrite) {
  const std::vector<PinnedNode> pinned = Pinned(0, Precision::kBf16, Precision::kFp32);
  ASSERT_THAT(Names(pinned), ElementsAre("b", "exp"));
  EXPECT_EQ(pinned[0].precision, Precision::kBf16);
  EXPECT_EQ(pinned[0].local_name, "");
  EXPECT_THAT(pinned[0].outputs, ElementsAre("b"));
  EXPECT_EQ(pinned[1].local_name, "exp");
  EXPECT_THAT(pinned[1].outputs, ElementsAre("y"));
}

TEST_F(WeakTest, WhatAPinnedNodeReadsIsPinnedWithIt) {
  EXPECT_THAT(Names(Pinned(3, Precision::kFp16, Precision::kFp32)), ElementsAre("Mul_b.fp32", "exp"));
}

TEST_F(WeakTest, InputsAndOutputsOfFp32NodesStayFp32) {
  const auto wide_io = [](Precision mul, Precision neg, Precision exp, bool shape_is_read = true) {
    onnx::ModelProto proto = ParsedProto(R"(<ir_version: 8, opset_import: ["": 17]>
        g (float[4] x, float[4] w) => (float[4] y, float[4] n, int64[1] s) {
          a = Mul (x, w)
          n = Neg (w)
          y = Exp (a)
          s = Shape (x)
        })");
    if (!shape_is_read) {
      proto.mutable_graph()->mutable_node()->RemoveLast();
      proto.mutable_graph()->mutable_output()->RemoveLast();
    }
    const Model model = Loaded(proto);
    Plan plan;
    plan.model_sha256 = model.sha256();
    plan.nodes = {{"a", mul, "", ""}, {"n", neg, "", ""}, {"y", exp, "", ""}};
    return ApplyWeakly(model, plan).wide_io;
  };
  constexpr Precision kFp16 = Precision::kFp16, kBf16 = Precision::kBf16, kFp32 = Precision::kFp32;
  EXPECT_THAT(wide_io(kFp16, kFp16, kFp16), IsEmpty());
  EXPECT_THAT(wide_io(kFp16, kFp16, kFp32), ElementsAre("y"));
  // `w` is also read by a node that may be FP16; Shape reads no values of `x`.
  EXPECT_THAT(wide_io(kFp32, kFp16, kFp16), ElementsAre("x"));
  EXPECT_THAT(wide_io(kFp32, kFp16, kFp16, false), ElementsAre("x"));
  EXPECT_THAT(wide_io(kFp32, kFp32, kFp16), ElementsAre("x", "w", "n"));
  // BF16 has to be converted to what the file says.
  EXPECT_THAT(wide_io(kBf16, kBf16, kBf16), IsEmpty());
}

TEST_F(WeakTest, FactorsThatFp16CannotHoldArePinned) {
  EXPECT_THAT(Names(Pinned(16, Precision::kFp16, Precision::kFp16)),
              ElementsAre("Mul_x.fp32_e16", "Mul_b.fp32"));
  EXPECT_THAT(Pinned(14, Precision::kFp16, Precision::kFp16), IsEmpty());
}

}  // namespace
}  // namespace halfsafe
