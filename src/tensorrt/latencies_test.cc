#include "tensorrt/latencies.h"

#include "halfsafe/plan.h"
#include "model/test_support.h"
#include "tensorrt/test_support.h"

namespace halfsafe {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;
using testing::SizeIs;

/// A recorded engine, each of whose layers takes `us`, and those in `others` what they say.
EngineBench Recorded(std::string_view recording, double us,
                     const std::map<std::string, double>& others = {}) {
  EngineBench engine;
  engine.name = recording;
  engine.inspected = RecordedLayers(recording);
  for (const EngineLayer& layer : engine.inspected.layers) {
    const auto other = others.find(layer.name);
    engine.layers.push_back({layer.name, other == others.end() ? us : other->second});
  }
  return engine;
}

std::vector<std::string> NodesOfPlan(std::string_view plan) {
  std::vector<std::string> names;
  for (const NodePlan& node : RecordedPlan(plan).nodes) names.push_back(node.name);
  return names;
}

struct HandMadeLayer {
  std::vector<std::string> nodes;
  DType in, out;
  double us;
};

EngineBench Engine(const std::vector<HandMadeLayer>& layers) {
  EngineBench engine;
  engine.inspected.detailed = true;
  for (const HandMadeLayer& made : layers) {
    EngineLayer layer;
    for (const std::string& node : made.nodes) layer.name += (layer.name.empty() ? "" : " + ") + node;
    layer.nodes = made.nodes;
    layer.inputs = {{layer.name + ".in", made.in, ""}};
    layer.outputs = {{layer.name + ".out", made.out, ""}};
    engine.layers.push_back({layer.name, made.us});
    engine.inspected.layers.push_back(std::move(layer));
  }
  return engine;
}

constexpr DType kBrain = DType::kBfloat16;

std::vector<std::string> Entries(const MeasuredLatencies& measured) {
  std::vector<std::string> entries;
  for (const NodeLatency& node : measured.latencies.nodes) {
    std::string entry = node.name + " " + std::to_string(static_cast<int>(node.fp16_us)) + " " +
                        std::to_string(static_cast<int>(node.fp32_us));
    if (node.bf16_us) entry += " " + std::to_string(static_cast<int>(*node.bf16_us));
    entries.push_back(std::move(entry));
  }
  return entries;
}

// The second engine pins convolutions in the middle, so both precisions are known of those. A convolution and
// its activation are one layer, named after nodes with and without names of their own.
TEST(LatenciesTest, RecordedEnginesGiveTheirLayersOfBothPrecisions) {
  const std::vector<std::string> nodes = NodesOfPlan("conv_stack.plan.json");
  const EngineBench fp16 = Recorded("conv_stack.fp16.json", 2.0, {{"node_of_conv12 + /relu_7/Relu", 3.0}});
  const EngineBench pinned =
      Recorded("conv_stack.pinned.json", 8.0, {{"node_of_conv12 + /relu_7/Relu", 9.0}});
  const MeasuredLatencies measured = GroupLatencies(nodes, {fp16, pinned});
  const std::vector<std::string> entries = Entries(measured);
  EXPECT_THAT(entries, testing::Contains("/conv10/Conv + /relu_6/Relu 2 8"));
  EXPECT_THAT(entries, testing::Contains("conv12 + /relu_7/Relu 3 9"));
  EXPECT_THAT(entries, testing::Contains("/conv16/Conv + relu_9 2 8"));
  for (const std::string& entry : entries) EXPECT_THAT(entry, Not(HasSubstr("/conv0/")));  // FP16 in both.
  EXPECT_THAT(measured.notes, SizeIs(3));
  // One engine alone has one precision of each.
  EXPECT_THAT(Entries(GroupLatencies(nodes, {fp16})), IsEmpty());
}

TEST(LatenciesTest, ARegionIsOneEntryOfAllThatItHides) {
  const std::vector<std::string> nodes = NodesOfPlan("transformer_ln.plan.json");
  const EngineBench half = Recorded("transformer_ln.fp16.json", 50.0);
  EngineBench wide = half;
  for (EngineLayer& layer : wide.inspected.layers) {
    for (StoredTensor& tensor : layer.inputs) tensor.dtype = kWide;
    for (StoredTensor& tensor : layer.outputs) tensor.dtype = kWide;
  }
  for (LayerTime& time : wide.layers) time.median_us = 90.0;
  const MeasuredLatencies measured = GroupLatencies(nodes, {half, wide});
  ASSERT_THAT(measured.latencies.nodes, SizeIs(1));
  const NodeLatency& region = measured.latencies.nodes.front();
  EXPECT_EQ(region.fp16_us, 50.0);
  EXPECT_EQ(region.fp32_us, 90.0);
  for (const std::string& node : nodes) EXPECT_THAT(region.name, HasSubstr(node));
  EXPECT_THAT(measured.notes.front(), HasSubstr("33%"));  // The rest moves data in front and behind.
}

TEST(LatenciesTest, LayersThatOverlapBetweenEnginesAreOneEntry) {
  const std::vector<std::string> nodes = {"a", "b", "c", "d"};
  const EngineBench fp16 =
      Engine({{{"a", "b"}, kHalf, kHalf, 3}, {{"c"}, kHalf, kHalf, 4}, {{"d"}, kHalf, kHalf, 1}});
  const EngineBench fp32 =
      Engine({{{"a"}, kWide, kWide, 10}, {{"b", "c"}, kWide, kWide, 20}, {{"d"}, kWide, kWide, 2}});
  EXPECT_THAT(Entries(GroupLatencies(nodes, {fp16, fp32})), ElementsAre("a + b + c 7 30", "d 1 2"));
}

TEST(LatenciesTest, LayersThatConvertHaveNoPrecision) {
  const std::vector<std::string> nodes = {"a", "b"};
  const EngineBench fp16 = Engine({{{"a"}, kWide, kHalf, 3}, {{"b"}, kHalf, kHalf, 4}});
  const EngineBench fp32 = Engine({{{"a"}, kWide, kWide, 10}, {{"b"}, kWide, kWide, 20}});
  EXPECT_THAT(Entries(GroupLatencies(nodes, {fp16, fp32})), ElementsAre("b 4 20"));
}

TEST(LatenciesTest, AnFp32RegionCountsOnlyInAnEngineWithoutNarrowTypes) {
  const std::vector<std::string> nodes = {"a", "b"};
  const EngineBench fp16 = Engine({{{"a"}, kHalf, kHalf, 3}, {{"b"}, kHalf, kHalf, 1}});
  EngineBench fp32 = Engine({{{"a"}, kWide, kWide, 10}, {{"b"}, kWide, kWide, 2}});
  EngineBench mixed = Engine({{{"a"}, kWide, kWide, 5}, {{"b"}, kHalf, kHalf, 2}});
  fp32.inspected.layers[0].region = mixed.inspected.layers[0].region = true;
  EXPECT_THAT(Entries(GroupLatencies(nodes, {fp16, fp32})), ElementsAre("a 3 10", "b 1 2"));
  EXPECT_THAT(Entries(GroupLatencies(nodes, {fp16, mixed})), IsEmpty());
}

TEST(LatenciesTest, TheFastestOfSeveralEnginesCountsAndBf16IsKept) {
  const std::vector<std::string> nodes = {"a"};
  const auto one = [](DType type, double us) { return Engine({{{"a"}, type, type, us}}); };
  EXPECT_THAT(Entries(GroupLatencies(nodes, {one(kHalf, 3), one(kWide, 9), one(kWide, 8), one(kBrain, 4)})),
              ElementsAre("a 3 8 4"));
}

TEST(LatenciesTest, LayersThatAreNotTimedTakeNothingAndUntimedNodesHaveNoEntry) {
  const std::vector<std::string> nodes = {"a", "b", "c"};
  EngineBench fp16 = Engine({{{"a", "b"}, kHalf, kHalf, 3}, {{"c"}, kHalf, kHalf, 1}});
  EngineBench fp32 = Engine({{{"a"}, kWide, kWide, 10}, {{"b"}, kWide, kWide, 20}, {{"c"}, kWide, kWide, 2}});
  fp32.layers = {fp32.layers[1]};
  EXPECT_THAT(Entries(GroupLatencies(nodes, {fp16, fp32})), ElementsAre("a + b 3 20"));
}

TEST(LatenciesTest, EnginesWithoutDetailsAreRefused) {
  EngineBench engine = Engine({{{"a"}, kHalf, kHalf, 3}});
  engine.name = "old.engine";
  engine.inspected.detailed = false;
  ExpectBad([&] { GroupLatencies({"a"}, {engine}); }, {"old.engine"});
}

TEST(LatenciesTest, TheFileIsReadBackAndItsNamesAreNodesOfTheModel) {
  const Model model = Loaded(ParsedProto(R"(<ir_version: 8, opset_import: ["": 17]>
      g (float[n, 4] x) => (float[n, 4] y) {
        k = Constant <value_float = 2.0> ()
        a = Mul (x, k)
        y = Relu (a)
      })"));
  BenchResult bench;
  bench.batch = 16;
  bench.engines = {Engine({{{"node_of_a", "node_of_y"}, kHalf, kHalf, 3}}),
                   Engine({{{"node_of_a", "node_of_y"}, kWide, kWide, 5.5}})};
  const MeasuredLatencies measured = MeasureLatencies(model, bench);
  const Latencies read = LatenciesFromJson(ToJson(measured.latencies), "latencies.json");
  EXPECT_EQ(read.model_sha256, model.sha256());
  EXPECT_EQ(read.batch, 16.0);
  EXPECT_EQ(read.cast_us, std::nullopt);
  ASSERT_THAT(read.nodes, SizeIs(1));
  EXPECT_EQ(read.nodes[0].name, "a + y");
  EXPECT_EQ(read.nodes[0].fp16_us, 3.0);
  EXPECT_EQ(read.nodes[0].fp32_us, 5.5);
  EXPECT_EQ(read.nodes[0].bf16_us, std::nullopt);
}

}  // namespace
}  // namespace halfsafe
