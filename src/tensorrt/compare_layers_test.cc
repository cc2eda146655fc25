#include <algorithm>

#include "tensorrt/test_support.h"

namespace halfsafe {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using testing::SizeIs;

EngineReport Compared(std::string_view recording, std::string_view plan) {
  const Plan read = RecordedPlan(plan);
  return CompareLayers(RecordedLayers(recording), &read);
}

size_t Count(const EngineReport& report, Presence presence) {
  return static_cast<size_t>(
      std::count_if(report.nodes.begin(), report.nodes.end(),
                    [&](const NodeInEngine& node) { return node.presence == presence; }));
}

std::vector<std::string> Problems(const EngineReport& report) {
  std::vector<std::string> nodes;
  for (const NodeInEngine& node : report.nodes) {
    if (!node.problem.empty()) nodes.push_back(node.node);
  }
  return nodes;
}

EngineLayer Layer(std::vector<std::string> nodes, std::vector<StoredTensor> inputs,
                  std::vector<StoredTensor> outputs) {
  EngineLayer layer;
  for (const std::string& node : nodes) layer.name += (layer.name.empty() ? "" : " + ") + node;
  layer.nodes = std::move(nodes);
  layer.inputs = std::move(inputs);
  layer.outputs = std::move(outputs);
  return layer;
}

EngineReport Hold(std::vector<EngineLayer> layers, const std::vector<NodePlan>& nodes,
                  std::vector<std::string> bindings = {}) {
  EngineLayers all;
  all.detailed = true;
  all.layers = std::move(layers);
  all.bindings = std::move(bindings);
  Plan plan;
  plan.nodes = nodes;
  return CompareLayers(std::move(all), &plan);
}

NodePlan Wide(std::string name) { return {std::move(name), Precision::kFp32, "", ""}; }
NodePlan Narrow(std::string name) { return {std::move(name), Precision::kFp16, "", ""}; }

TEST(CompareLayersTest, AnEngineWithConstraintsIsAsPlanned) {
  const EngineReport report = Compared("conv_stack.pinned.json", "conv_stack.plan.json");
  EXPECT_TRUE(report.judged);
  EXPECT_TRUE(report.as_planned);
  ASSERT_THAT(report.nodes, SizeIs(20));
  EXPECT_EQ(Count(report, Presence::kLayer), 9);
  EXPECT_EQ(Count(report, Presence::kFused), 10);
  // TensorRT takes the Dropout out.
  EXPECT_EQ(Count(report, Presence::kAbsent), 1);
  const NodeInEngine& conv12 = report.nodes[2];
  EXPECT_EQ(conv12.node, "conv12");
  EXPECT_EQ(conv12.layer, "node_of_conv12 + /relu_7/Relu");
  EXPECT_EQ(conv12.planned, Precision::kFp32);
  EXPECT_EQ(conv12.presence, Presence::kFused);
  EXPECT_EQ(conv12.outputs[0].name, "relu_7");
  // Five layers move data. Two of them lie between FP16 and FP32, away from x and y.
  EXPECT_EQ(report.reformats, 5);
  EXPECT_EQ(report.planned_reformats, 2);
}

TEST(CompareLayersTest, AnEngineWithoutConstraintsIsNot) {
  const EngineReport report = Compared("conv_stack.fp16.json", "conv_stack.plan.json");
  EXPECT_FALSE(report.as_planned);
  EXPECT_THAT(Problems(report), SizeIs(19));
  EXPECT_EQ(report.nodes[0].problem, "its layer reads and writes FP16 alone");
  EXPECT_EQ(report.nodes[1].problem, "its result is stored in FP16");
  EXPECT_EQ(report.planned_reformats, 0);
}

TEST(CompareLayersTest, RegionsHideNodes) {
  const EngineReport report = Compared("lstm_net.pinned.json", "lstm_net.plan.json");
  EXPECT_TRUE(report.as_planned);
  ASSERT_THAT(report.nodes, SizeIs(12));
  EXPECT_EQ(Count(report, Presence::kLayer), 3);
  EXPECT_EQ(Count(report, Presence::kFused), 2);
  EXPECT_EQ(Count(report, Presence::kRegion), 7);
  EXPECT_TRUE(report.nodes[7].layer.ends_with(".../y/Identity]}"));
  EXPECT_EQ(report.nodes[7].node, "/lstm/LSTM");
  EXPECT_EQ(report.reformats, 18);
  // Of the two conversions one is the input's.
  EXPECT_EQ(report.planned_reformats, 1);
}

TEST(CompareLayersTest, TheLastNodeOfARegionWritesItsOutput) {
  const EngineReport report = Compared("transformer_ln.fp16.json", "transformer_ln.plan.json");
  EXPECT_FALSE(report.as_planned);
  EXPECT_EQ(Count(report, Presence::kRegion), 40);
  EXPECT_THAT(Problems(report), ElementsAre("/y/Identity"));
  EXPECT_EQ(report.reformats, 2);
  EXPECT_EQ(report.planned_reformats, 0);
}

// Both with all 106 nodes pinned; for the second TensorRT was told to convert nothing at inputs and outputs.
TEST(CompareLayersTest, ARegionOfPinnedLayersMayStoreItsOutputInFp16) {
  const EngineReport converted = Compared("transformer_rms.converted.json", "transformer_rms.plan.json");
  EXPECT_FALSE(converted.as_planned);
  EXPECT_EQ(Count(converted, Presence::kRegion), 106);
  EXPECT_THAT(Problems(converted), ElementsAre("/y/Identity"));
  EXPECT_EQ(converted.reformats, 2);
  EXPECT_EQ(converted.planned_reformats, 0);  // Both are next to an input or output.
  const EngineReport pinned = Compared("transformer_rms.pinned.json", "transformer_rms.plan.json");
  EXPECT_TRUE(pinned.as_planned);
  EXPECT_EQ(Count(pinned, Presence::kRegion), 106);
  EXPECT_EQ(pinned.reformats, 0);
}

TEST(CompareLayersTest, NodesOfRescaledModelsAreFound) {
  const EngineReport report = Compared("magika.rescaled.json", "magika.rescaled.plan.json");
  EXPECT_TRUE(report.as_planned);
  EXPECT_EQ(Count(report, Presence::kRegion), 4);
  for (const NodeInEngine& node : report.nodes)
    EXPECT_TRUE(node.layer.ends_with("/Conv_0/Conv2D__120]}")) << node.node;
}

TEST(CompareLayersTest, WithoutAPlanEveryNamedNodeIsListed) {
  const EngineReport report = CompareLayers(RecordedLayers("conv_stack.fp16.json"), nullptr);
  EXPECT_THAT(report.nodes, SizeIs(40));  // 19 convolutions with their activations, one without, an Identity.
  EXPECT_FALSE(report.judged);
  EXPECT_EQ(report.nodes[0].planned, std::nullopt);
}

TEST(CompareLayersTest, AResultThatStaysInsideIsNotStored) {
  // Reading or writing anything wider, the kernel may be a wide one.
  EXPECT_TRUE(Hold({Layer({"a", "b"}, {{"x", kWide, ""}}, {{"y", kHalf, ""}})}, {Wide("a")}).as_planned);
  EXPECT_TRUE(Hold({Layer({"a", "b"}, {{"x", kHalf, ""}}, {{"y", kWide, ""}})}, {Wide("a")}).as_planned);
  EXPECT_THAT(Problems(Hold({Layer({"a", "b"}, {{"x", kHalf, ""}}, {{"y", kHalf, ""}})}, {Wide("a")})),
              ElementsAre("a"));
  EXPECT_THAT(Problems(Hold({Layer({"a", "b"}, {{"x", kWide, ""}}, {{"y", kHalf, ""}})}, {Wide("b")})),
              ElementsAre("b"));
  // Indices say nothing.
  EXPECT_THAT(Problems(Hold({Layer({"a"}, {{"i", DType::kInt32, ""}}, {{"y", kHalf, ""}})}, {Wide("a")})),
              ElementsAre("a"));
  EXPECT_TRUE(Hold({Layer({"a"}, {{"x", kHalf, ""}}, {{"i", DType::kInt32, ""}})}, {Wide("a")}).as_planned);
}

TEST(CompareLayersTest, BesideIndicesTheLastNodeNeedNotWriteWhatIsFloatingPoint) {
  const std::vector<EngineLayer> layers = {
      Layer({"a", "b"}, {{"x", kWide, ""}}, {{"y", kHalf, ""}, {"i", DType::kInt64, ""}})};
  EXPECT_TRUE(Hold(layers, {Narrow("a"), Wide("b")}).as_planned);
}

TEST(CompareLayersTest, CastsOfThePlanAreNoProblem) {
  // Strongly typed engines: the Cast to FP16 is fused into the wide node's layer.
  EXPECT_TRUE(Hold({Layer({"a"}, {{"x", kWide, ""}}, {{"y.fp16", kHalf, ""}})}, {Wide("a")}).as_planned);
  EXPECT_TRUE(
      Hold({Layer({"Cast_x.fp32", "a", "Cast_y.fp16"}, {{"x", kHalf, ""}}, {{"z", kHalf, ""}})}, {Wide("a")})
          .as_planned);
  EngineLayer kernel = Layer({"a", "b"}, {{"x", kHalf, ""}}, {{"z", kHalf, ""}});
  kernel.name = "__myl_CastMulAddCast_myl0_3";
  EXPECT_TRUE(Hold({kernel}, {Wide("a"), Narrow("b")}).as_planned);
}

TEST(CompareLayersTest, WhatIsPlannedInBf16IsHeldAgainstFp16Alone) {
  const std::vector<NodePlan> plan = {{"a", Precision::kBf16, "", ""}};
  EXPECT_TRUE(Hold({Layer({"a"}, {}, {{"y", DType::kBfloat16, ""}})}, plan).as_planned);
  EXPECT_TRUE(Hold({Layer({"a"}, {}, {{"y", kWide, ""}})}, plan).as_planned);
  EXPECT_FALSE(Hold({Layer({"a"}, {}, {{"y", kHalf, ""}})}, plan).as_planned);
  EXPECT_TRUE(Hold({Layer({"a"}, {}, {{"y", DType::kUndefined, "N/A"}})}, plan).as_planned);
}

TEST(CompareLayersTest, WithoutTypesNothingIsJudged) {
  Plan plan;
  plan.nodes = {Wide("a")};
  EXPECT_FALSE(CompareLayers(LayersFromJson(R"({"Layers": ["a + b"]})", "names"), &plan).judged);
  EXPECT_TRUE(Hold({}, {Narrow("a")}).judged);
}

TEST(CompareLayersTest, NodesInBodiesGoByTheirOwnNames) {
  const std::vector<EngineLayer> layers = {Layer({"x"}, {}, {{"t", kWide, ""}}),
                                           Layer({"node_of_u"}, {}, {{"u", kWide, ""}})};
  const EngineReport report = Hold(
      layers, {Wide("If_3/then_branch/x"), Wide("loop/body#2/u"), Wide("/model/x"), Wide("/model/body/v")});
  EXPECT_EQ(report.nodes[0].layer, "x");
  EXPECT_EQ(report.nodes[1].layer, "node_of_u");
  EXPECT_EQ(report.nodes[2].presence, Presence::kAbsent);
  EXPECT_EQ(report.nodes[3].presence, Presence::kAbsent);
  // A node of the main graph has the better claim to the name.
  EXPECT_EQ(Hold(layers, {Wide("If_3/then_branch/x"), Narrow("x")}).nodes[0].presence, Presence::kAbsent);
}

TEST(CompareLayersTest, NodesWithoutANameGoByTheOriginalsOutput) {
  const EngineReport report =
      Hold({Layer({"node_of_x.fp32_e3"}, {}, {{"x.fp32_e3", kWide, ""}})}, {Wide("x")});
  EXPECT_EQ(report.nodes[0].presence, Presence::kLayer);
}

TEST(CompareLayersTest, ANodeInSeveralLayersIsJudgedInAll) {
  const EngineReport report = Hold({Layer({"a", "b"}, {{"x", kHalf, ""}}, {{"s", kHalf, ""}}),
                                    Layer({"a"}, {{"s", kWide, ""}}, {{"y", kWide, ""}})},
                                   {Wide("a")});
  EXPECT_EQ(report.nodes[0].layer, "a");
  EXPECT_EQ(report.nodes[0].presence, Presence::kLayer);
  EXPECT_FALSE(report.as_planned);
}

TEST(CompareLayersTest, NodesAreInTheRegionThatSpansThem) {
  EngineLayer first = Layer({"a", "c"}, {}, {{"c", kHalf, ""}}),
              second = Layer({"f", "h"}, {}, {{"h", kHalf, ""}});
  first.region = second.region = true;
  const EngineReport report = Hold({first, second}, {Narrow("a"), Wide("b"), Narrow("c"), Wide("d"),
                                                     Narrow("f"), Wide("g"), Narrow("h"), Wide("i")});
  EXPECT_EQ(report.nodes[0].layer, "a + c");
  EXPECT_EQ(report.nodes[1].presence, Presence::kAbsent);
  EXPECT_EQ(report.nodes[2].layer, "f + h");
  EXPECT_EQ(report.nodes[3].presence, Presence::kAbsent);
  EXPECT_THAT(Problems(report), IsEmpty());
}

TEST(CompareLayersTest, CopiesOfInputsAndOutputsAreNoReformatsOfThePlan) {
  const auto move = [](StoredTensor from, StoredTensor to) {
    EngineLayer layer = Layer({}, {std::move(from)}, {std::move(to)});
    layer.moves = true;
    return layer;
  };
  const std::vector<EngineLayer> layers = {move({"x", kWide, ""}, {"x2", kWide, ""}),
                                           move({"x2", kWide, ""}, {"x3", kHalf, ""}),
                                           Layer({"a"}, {{"x3", kHalf, ""}}, {{"a", kHalf, ""}}),
                                           move({"a", kHalf, ""}, {"a2", kWide, ""}),
                                           Layer({"b"}, {{"a2", kWide, ""}}, {{"b", kHalf, ""}}),
                                           move({"b", kHalf, ""}, {"b2", kWide, ""}),
                                           move({"b2", kWide, ""}, {"y", kWide, ""})};
  const EngineReport report = Hold(layers, {Narrow("a")}, {"x", "y"});
  EXPECT_EQ(report.reformats, 5);
  EXPECT_EQ(report.planned_reformats, 1);
}

}  // namespace
}  // namespace halfsafe
