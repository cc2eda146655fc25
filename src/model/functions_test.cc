#include "model/functions.h"

#include <fmt/format.h>

#include "model/test_support.h"

namespace halfsafe {
namespace {

/// A model that calls f0. Function i is `body(i)`, in which a is its input and b its output.
onnx::ModelProto Calling(int functions, const std::function<std::string(int)>& body) {
  std::string text = R"(<ir_version: 8, opset_import: ["" : 17, "d" : 1]>
    g (float[4] x) => (float[4] y) { y = d.f0(x) })";
  for (int i = 0; i < functions; ++i) {
    text +=
        fmt::format(R"(<opset_import: ["" : 17, "d" : 1], domain: "d"> f{} (a) => (b) {{ {} }})", i, body(i));
  }
  return ParsedProto(text);
}

TEST(InlineFunctions, PutsNodesInPlaceOfCalls) {
  onnx::ModelProto model = Calling(2, [](int i) { return i == 0 ? "b = d.f1(a)" : "b = Relu(a)"; });
  InlineFunctions("m", &model);
  ASSERT_EQ(model.graph().node_size(), 1);
  EXPECT_EQ(model.graph().node(0).op_type(), "Relu");
  EXPECT_EQ(model.graph().node(0).output(0), "y");
}

TEST(InlineFunctions, RefusesCircles) {
  onnx::ModelProto model = Calling(2, [](int i) { return fmt::format("b = d.f{}(a)", 1 - i); });
  ExpectBad([&] { InlineFunctions("m", &model); }, {"m", "circle"});
}

TEST(InlineFunctions, RefusesDeepCalls) {
  const auto body = [](int i) {
    return i == 99 ? std::string("b = Relu(a)") : fmt::format("b = d.f{}(a)", i + 1);
  };
  onnx::ModelProto model = Calling(100, body);
  ExpectBad([&] { InlineFunctions("m", &model); }, {"m", "more than 64 deep"});
}

TEST(InlineFunctions, RefusesWhatGrowsTooMuch) {
  const auto body = [](int i) {
    return i == 39 ? std::string("b = Relu(a)") : fmt::format("c = d.f{0}(a) b = d.f{0}(c)", i + 1);
  };
  onnx::ModelProto model = Calling(40, body);
  ExpectBad([&] { InlineFunctions("m", &model); }, {"m", "expand to"});
}

TEST(InlineFunctions, CountsArgumentsWhereverTheyCome) {
  onnx::ModelProto model = ParsedProto(R"(<ir_version: 8, opset_import: ["" : 17, "d" : 1]>
    g (float[4] x) => (float[4] y) { y = d.f <v = "text"> (x) }
    <opset_import: ["" : 17], domain: "d"> f <v> (a) => (b) { b = Identity(a) })");
  model.mutable_graph()->mutable_node(0)->mutable_attribute(0)->set_s(std::string(1 << 20, 'v'));
  auto* function = model.mutable_functions(0);
  for (int i = 0; i < 100; ++i) {
    auto* node = function->add_node();
    node->set_op_type("Constant");
    node->add_output(fmt::format("c{}", i));
    auto* value = node->add_attribute();
    value->set_name("value_string");
    value->set_ref_attr_name("v");
    value->set_type(onnx::AttributeProto::STRING);
  }
  ExpectBad([&] { InlineFunctions("m", &model); }, {"m", "expand to"});
}

}  // namespace
}  // namespace halfsafe
