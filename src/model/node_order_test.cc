#include "model/node_order.h"

#include <gmock/gmock.h>

#include "model/test_support.h"

namespace halfsafe {
namespace {

using ::testing::ElementsAre;

std::vector<std::string> Operators(const onnx::GraphProto& graph) {
  std::vector<std::string> operators;
  for (const auto& node : graph.node()) operators.push_back(node.op_type());
  return operators;
}

std::vector<std::string> Sorted(const std::string& graph) {
  onnx::ModelProto model = ParsedProto(R"(<ir_version: 8, opset_import: ["" : 17]> )" + graph);
  SortNodes(model.mutable_graph());
  return Operators(model.graph());
}

TEST(SortNodes, PutsReadersBehindWriters) {
  EXPECT_THAT(Sorted("g (float[4] x) => (float[4] y) { y = Relu(h)  h = Add(x, e)  e = Exp(x) }"),
              ElementsAre("Exp", "Add", "Relu"));
}

TEST(SortNodes, LeavesWhatIsInOrder) {
  EXPECT_THAT(Sorted("g (float[4] x) => (float[4] y) { b = Exp(x)  a = Relu(x)  y = Add(a, b) }"),
              ElementsAre("Exp", "Relu", "Add"));
}

TEST(SortNodes, SeesWhatBodiesRead) {
  const std::string branches = R"(then_branch = t () => (float[4] o) { o = Neg(i)  i = Abs(h) },
                                  else_branch = e () => (float[4] p) { p = Identity(x) })";
  const std::string text =
      "g (float[4] x, bool c) => (float[4] y) { y = If (c) <" + branches + "> h = Exp(x) }";
  onnx::ModelProto model = ParsedProto(R"(<ir_version: 8, opset_import: ["" : 17]> )" + text);
  SortNodes(model.mutable_graph());
  EXPECT_THAT(Operators(model.graph()), ElementsAre("Exp", "If"));
  EXPECT_THAT(Operators(model.graph().node(1).attribute(0).g()), ElementsAre("Abs", "Neg"));
}

TEST(SortNodes, LeavesACircleToWhatReadsTheGraph) {
  EXPECT_THAT(Sorted("g (float[4] x) => (float[4] y) { y = Add(x, z)  z = Neg(y) }"),
              ElementsAre("Add", "Neg"));
}

}  // namespace
}  // namespace halfsafe
