#include "model/opset.h"

#include "halfsafe/error.h"
#include "model/test_support.h"

namespace halfsafe {
namespace {

using testing::HasSubstr;

onnx::ModelProto OldModel(const std::string& op = "Hardmax") {
  return ParsedProto(R"(<ir_version: 3, opset_import: ["": 9]>
      graph (float[a, b, c] x) => (float[d, e, f] y) {
        h = )" + op + R"( (x)
        [cut] y = Slice <starts = [0], ends = [1]> (h)
      })");
}

TEST(OpsetTest, NodesKeepTheNamesThatTheyGoBy) {
  Model model = Loaded(OldModel());
  EXPECT_EQ(model.raised_opset(), std::nullopt);
  model.RaiseOpset(13);
  EXPECT_EQ(model.raised_opset(), 13);
  EXPECT_EQ(model.proto().opset_import(0).version(), 13);
  EXPECT_EQ(model.proto().ir_version(), 7);
  std::vector<std::string> names;
  for (const auto& node : model.proto().graph().node()) names.push_back(node.name() + " " + node.output(0));
  EXPECT_THAT(names,
              testing::ElementsAre("h:Shape h:Shape", "h:Flatten h:Flatten", "h h:Hardmax", "h:Reshape h",
                                   "cut:Constant cut:Constant", "cut:Constant#2 cut:Constant#2", "cut y"));
  EXPECT_EQ(Model(model, model.proto()).raised_opset(), 13);
}

TEST(OpsetTest, ItsOwnOpsetChangesNothing) {
  Model model = Loaded(OldModel());
  model.RaiseOpset(9);
  EXPECT_EQ(model.raised_opset(), 9);
  EXPECT_EQ(model.proto().SerializeAsString(), OldModel().SerializeAsString());
}

TEST(OpsetTest, FailuresChangeNothing) {
  const onnx::ModelProto proto = OldModel("Gelu");
  Model model = Loaded(proto);
  for (const auto& [opset, code, text] : {std::tuple{8, ExitCode::kUsage, "expected one from 9"},
                                          {1000, ExitCode::kUsage, "opset 1000"},
                                          {22, ExitCode::kBadInput, "node h (Gelu)"}}) {
    try {
      model.RaiseOpset(opset);
      ADD_FAILURE() << opset;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), code);
      EXPECT_THAT(error.what(), HasSubstr(text));
    }
  }
  EXPECT_EQ(model.raised_opset(), std::nullopt);
  EXPECT_EQ(model.proto().SerializeAsString(), proto.SerializeAsString());
}

TEST(OpsetTest, OperandsMeetWhereTheyDidBeforeOpset7) {
  Model model = Loaded(ParsedProto(R"(<ir_version: 3, opset_import: ["": 6]>
      graph (float[2, 3, 4] x, float[3] b, float[3] slope) => (float[2, 3, 4] y) {
        h = Mul <broadcast = 1> (x, x)
        k = Add <broadcast = 1, axis = 1> (h, b)
        y = PRelu (k, slope)
      })"));
  model.RaiseToRun();
  EXPECT_EQ(model.raised_opset(), 7);
  std::vector<std::string> nodes;
  for (const auto& node : model.proto().graph().node()) {
    nodes.push_back(node.op_type() + " " + node.input(node.input_size() - 1));
    if (node.op_type() == "Unsqueeze") {
      EXPECT_EQ(node.attribute(0).ints_size(), 1);
      EXPECT_EQ(node.attribute(0).ints(0), 1);
    } else {
      EXPECT_EQ(node.attribute_size(), 0);
    }
  }
  EXPECT_THAT(nodes, testing::ElementsAre("Mul x", "Unsqueeze b", "Add k:Unsqueeze", "Unsqueeze slope",
                                          "PRelu y:Unsqueeze"));
}

TEST(OpsetTest, WhatCannotBeConvertedStays) {
  // Where the axes of one operand are not known, neither is where the other's meet them.
  const onnx::ModelProto proto = ParsedProto(R"(<ir_version: 3, opset_import: ["": 6]>
      graph (float x, float[3] b) => (float y) { y = Add <broadcast = 1, axis = 1> (x, b) })");
  onnx::ModelProto unranked = proto;
  for (auto* values : {unranked.mutable_graph()->mutable_input(), unranked.mutable_graph()->mutable_output()})
    values->Mutable(0)->mutable_type()->mutable_tensor_type()->clear_shape();
  Model model = Loaded(unranked);
  model.RaiseToRun();
  EXPECT_EQ(model.raised_opset(), std::nullopt);
  EXPECT_THROW(model.RaiseOpset(7), Error);
}

}  // namespace
}  // namespace halfsafe
