#include "report/report_graph.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "halfsafe/rewrite.h"
#include "model/test_support.h"

namespace halfsafe {
namespace {

constexpr const char* kModel = R"(<ir_version: 8, opset_import: ["" : 17]>
  g (float[2, 2] x) => (float[2, 2] y) <float up = {60000.0}, float down = {0.001}> {
    big = Mul(x, up)
    small = Mul(big, down)
    root = Sqrt(small)
    y = Relu(root)
  })";

TensorStats Seen(const char* name, double peak) {
  TensorStats stats;
  stats.name = name;
  stats.count = 4;
  stats.abs_max = stats.max = peak;
  if (peak > 65504.0) stats.overflow_count = 1;
  return stats;
}

/// The model, and a plan that stores `big` times 2^-4 and keeps the square root in FP32.
struct Planned {
  Model model = Loaded(ParsedProto(kModel));
  RangeTable ranges;
  Plan plan;

  Planned() {
    ranges.tensors = {Seen("x", 2.0), Seen("big", 120000.0), Seen("small", 120.0), Seen("root", 11.0),
                      Seen("y", 11.0)};
    plan.model_sha256 = model.sha256();
    for (const NodeInfo& node : model.index().nodes()) {
      const bool wide = node.proto->op_type() == "Sqrt";
      plan.nodes.push_back(
          {node.name, wide ? Precision::kFp32 : Precision::kFp16, wide ? "error" : "safe", "because"});
    }
    plan.tensors = {{"big", 4}};
  }
};

const ReportTensor& Tensor(const ReportGraph& graph, std::string_view name) {
  return *std::find_if(graph.tensors.begin(), graph.tensors.end(),
                       [name](const ReportTensor& tensor) { return tensor.name == name; });
}

TEST(ReportGraphTest, AScanHasTheOriginalAlone) {
  const Planned planned;
  const ReportGraphs graphs = BuildGraphs({planned.model, &planned.ranges});
  EXPECT_FALSE(graphs.fixed);
  EXPECT_TRUE(Tensor(graphs.original, "big").overflows);
  EXPECT_FALSE(Tensor(graphs.original, "small").overflows);
  EXPECT_EQ(Tensor(graphs.original, "x").shape, "2×2");
  EXPECT_EQ(Tensor(graphs.original, "x").producer, -1);
  EXPECT_EQ(Tensor(graphs.original, "up").stats, nullptr);
  EXPECT_TRUE(Tensor(graphs.original, "y").output);
  EXPECT_EQ(graphs.original.nodes[0].precision, "");
}

TEST(ReportGraphTest, BothGraphsAreTiedTogether) {
  const Planned planned;
  const Model fixed = Apply(planned.model, planned.plan);
  const ReportGraphs graphs = BuildGraphs({planned.model, &planned.ranges, 10000.0, &planned.plan, &fixed});
  ASSERT_TRUE(graphs.fixed);
  const ReportTensor& big = Tensor(graphs.original, "big");
  EXPECT_EQ(big.exponent, 4);
  const ReportTensor& stored = graphs.fixed->tensors[static_cast<size_t>(big.counterpart)];
  EXPECT_EQ(stored.dtype, DType::kFloat16);
  EXPECT_EQ(graphs.original.tensors[static_cast<size_t>(stored.counterpart)].name, "big");
  EXPECT_EQ(graphs.original.nodes[2].reason, "error");
  size_t casts = 0;
  for (const ReportNode& node : graphs.fixed->nodes) {
    EXPECT_EQ(node.inserted, node.op_type == "Cast") << node.name;
    casts += node.inserted ? 1 : 0;
    EXPECT_TRUE(!node.inserted || !node.repair.empty()) << node.name;
    EXPECT_TRUE(node.op_type != "Sqrt" || node.precision == "FP32");
  }
  EXPECT_EQ(casts, CountCasts(fixed));
  EXPECT_GT(casts, 0u);
}

TEST(ReportGraphTest, WithoutAPlanTheFixedModelSpeaks) {
  const Planned planned;
  const Model fixed = Apply(planned.model, planned.plan);
  RangeTable stored;
  const ReportGraphs told = BuildGraphs({planned.model, nullptr, 10000.0, nullptr, &fixed, &stored});
  EXPECT_EQ(told.original.nodes[2].precision, "FP32");
  EXPECT_EQ(told.original.nodes[2].reason, "error");
  EXPECT_EQ(told.original.nodes[2].evidence, "because");
  const Model silent = WithoutFindings(fixed);
  const ReportGraphs typed = BuildGraphs({planned.model, nullptr, 10000.0, nullptr, &silent, &stored});
  EXPECT_EQ(typed.original.nodes[2].precision, "FP32");
  EXPECT_EQ(typed.original.nodes[2].reason, "");
}

TEST(ReportGraphTest, InfinitiesOfTheOriginalAreNoNewOverflow) {
  Planned planned;
  planned.ranges.tensors[2].inf_count = 1;  // "small", in FP32 already.
  const Model fixed = Apply(planned.model, planned.plan);
  RangeTable stored;
  for (const char* name : {"small", "y"})
    stored.tensors.push_back(Seen(name, 1.0)), stored.tensors.back().inf_count = 1;
  const ReportGraphs graphs =
      BuildGraphs({planned.model, &planned.ranges, 10000.0, &planned.plan, &fixed, &stored});
  EXPECT_TRUE(Tensor(graphs.original, "small").overflows);
  EXPECT_FALSE(Tensor(*graphs.fixed, "small").overflows);
  EXPECT_FALSE(Tensor(*graphs.fixed, "y").overflows);  // FP32: not a type that overflows there.
}

TEST(ReportGraphTest, BodiesOfNodesWithoutANameAreTied) {
  const Model model = Loaded(ParsedProto(R"(<ir_version: 8, opset_import: ["" : 17]>
    g (float[2] x, bool c) => (float[2] y) {
      y = If (c) <then_branch = t () => (float[2] sum) { sum = Add(x, x) },
                  else_branch = e () => (float[2] root) { root = Sqrt(x) }>
    })"));
  const Plan plan = PlainFp16Plan(model);
  const Model fixed = Apply(model, plan);
  const ReportGraphs graphs = BuildGraphs({model, nullptr, 10000.0, &plan, &fixed});
  for (const ReportNode& node : graphs.fixed->nodes)
    EXPECT_EQ(node.inserted, node.op_type == "Cast") << node.name;
  for (const ReportTensor& tensor : graphs.original.tensors) {
    ASSERT_GE(tensor.counterpart, 0) << tensor.name;
    const ReportTensor& stored = graphs.fixed->tensors[static_cast<size_t>(tensor.counterpart)];
    EXPECT_EQ(graphs.original.tensors[static_cast<size_t>(stored.counterpart)].name, tensor.name);
  }
}

TEST(ReportGraphTest, OriginalNamesAreFoundInPaths) {
  EXPECT_EQ(OriginalName("x.fp16"), "x");
  EXPECT_EQ(OriginalName("a/b.c/x.fp32_e4"), "a/b.c/x");
  EXPECT_EQ(OriginalName("a.fp32_e10/body/x"), "a/body/x");
  EXPECT_EQ(OriginalName("a"), "a");
}

}  // namespace
}  // namespace halfsafe
