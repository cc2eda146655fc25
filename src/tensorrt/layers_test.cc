#include <algorithm>

#include "tensorrt/test_support.h"

namespace halfsafe {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using testing::SizeIs;

/// Layers of these names, as an engine without details gives them.
EngineLayers Named(const std::vector<std::string>& names) {
  std::string text;
  for (const std::string& name : names) text += (text.empty() ? "\"" : ",\"") + name + "\"";
  return LayersFromJson("{\"Layers\": [" + text + "], \"Bindings\": []}", "names.json");
}

std::vector<std::string> NodesNamed(const std::string& name) { return Named({name}).layers[0].nodes; }

/// The first layer of one that holds these fields.
EngineLayer LayerOf(const std::string& fields) {
  return LayersFromJson("{\"Layers\": [{" + fields + "}]}", "layer.json").layers[0];
}

DType TypeOf(const std::string& format) {
  const EngineLayer layer =
      LayerOf(R"("Name": "a", "Inputs": [{"Name": "x", "Format/Datatype": ")" + format + "\"}]");
  return layer.inputs[0].dtype;
}

size_t CountMoves(const EngineLayers& layers) {
  return static_cast<size_t>(std::count_if(layers.layers.begin(), layers.layers.end(),
                                           [](const EngineLayer& layer) { return layer.moves; }));
}

TEST(LayersTest, ReadsConvolutionsFusedWithActivations) {
  const EngineLayers layers = RecordedLayers("conv_stack.pinned.json");
  EXPECT_TRUE(layers.detailed);
  EXPECT_TRUE(layers.shaped);
  EXPECT_THAT(layers.bindings, ElementsAre("x", "y"));
  ASSERT_THAT(layers.layers, SizeIs(25));
  const EngineLayer& conv = layers.layers[1];
  EXPECT_EQ(conv.name, "/conv0/Conv + /relu/Relu");
  EXPECT_EQ(conv.type, "CaskConvolution");
  EXPECT_THAT(conv.nodes, ElementsAre("/conv0/Conv", "/relu/Relu"));
  EXPECT_TRUE(conv.tactic.starts_with("sm80_xmma_fprop_implicit_gemm_indexed"));
  EXPECT_FALSE(conv.moves || conv.region);
  ASSERT_THAT(conv.outputs, SizeIs(1));
  EXPECT_EQ(conv.outputs[0].name, "relu");
  EXPECT_EQ(conv.outputs[0].dtype, DType::kFloat16);
  EXPECT_EQ(conv.outputs[0].format, "Channel major FP16 format where channel % 8 == 0");
  EXPECT_EQ(layers.layers[7].inputs[0].dtype, DType::kFloat);
  EXPECT_THAT(layers.layers[5].nodes, ElementsAre("node_of_conv8", "/relu_5/Relu"));
  // Three Reformats, an Identity that is a NoOp, and one that Myelin makes a reformat.
  EXPECT_EQ(CountMoves(layers), 5);
  EXPECT_THAT(layers.layers[0].nodes, IsEmpty());
  EXPECT_THAT(layers.layers[24].nodes, ElementsAre("/y/Identity"));
  EXPECT_TRUE(layers.layers[24].moves);
}

TEST(LayersTest, LayersThatMoveDataHaveTheMetadataOfTheirNeighboursAndNoNodes) {
  const EngineLayers layers = RecordedLayers("lstm_net.pinned.json");
  ASSERT_THAT(layers.layers, SizeIs(25));
  // All but six convolutions and the region.
  EXPECT_EQ(CountMoves(layers), 18);
  for (const EngineLayer& layer : layers.layers) EXPECT_EQ(layer.nodes.empty(), layer.moves) << layer.name;
}

TEST(LayersTest, NodesThatMoveDataThemselvesStayNodes) {
  const EngineLayers layers = RecordedLayers("magika.rescaled.json");
  ASSERT_THAT(layers.layers, SizeIs(11));
  const EngineLayer& squeeze = layers.layers[7];
  EXPECT_EQ(squeeze.type, "NoOp");
  EXPECT_FALSE(squeeze.moves);
  EXPECT_THAT(squeeze.nodes, ElementsAre("jax2tf_get_logits_/pjit_get_logits_/MagikaV2/Max_Squeeze__213"));
  const EngineLayer& conv = layers.layers[2];
  ASSERT_THAT(conv.nodes, SizeIs(13));
  EXPECT_EQ(conv.nodes.front(), "jax2tf_get_logits_/pjit_get_logits_/MagikaV2/Conv_0/Conv2D");
  EXPECT_EQ(conv.nodes[7],
            "Clip_jax2tf_get_logits_/pjit_get_logits_/MagikaV2/ApplyActivation_1/Mul_3:0.fp32_e9_clamped");
  EXPECT_EQ(conv.nodes.back(), "jax2tf_get_logits_/pjit_get_logits_/MagikaV2/ApplyActivation_1/Mul_5");
  EXPECT_EQ(CountMoves(layers), 4);
  EXPECT_EQ(layers.layers[0].inputs[0].dtype, DType::kInt32);
}

TEST(LayersTest, RegionsNameTheirFirstAndLastNode) {
  const EngineLayers magika = RecordedLayers("magika.rescaled.json");
  EXPECT_TRUE(magika.layers[0].region);
  EXPECT_THAT(magika.layers[0].nodes,
              ElementsAre("jax2tf_get_logits_/pjit_get_logits_/pjit__one_hot_/BroadcastTo_1:0",
                          "jax2tf_get_logits_/pjit_get_logits_/MagikaV2/Conv_0/Conv2D__120"));
  // A layer without a name is no node.
  EXPECT_TRUE(magika.layers[10].region);
  EXPECT_THAT(magika.layers[10].nodes, ElementsAre("jax2tf_get_logits_/pjit_get_logits_/truediv"));
  const EngineLayers transformer = RecordedLayers("transformer_ln.fp16.json");
  ASSERT_THAT(transformer.layers, SizeIs(3));
  EXPECT_THAT(transformer.layers[1].nodes, ElementsAre("ln4.weight", "/y/Identity"));
}

TEST(LayersTest, ReadsKernelsOfTensorRt10) {
  const EngineLayers layers = RecordedLayers("layout_10.json");
  EXPECT_THAT(layers.bindings, ElementsAre("tokens", "y"));
  ASSERT_THAT(layers.layers, SizeIs(4));
  EXPECT_TRUE(layers.layers[0].moves);
  EXPECT_THAT(layers.layers[0].nodes, IsEmpty());
  EXPECT_EQ(layers.layers[0].inputs[0].dtype, DType::kFloat);
  EXPECT_FALSE(layers.layers[1].moves);
  EXPECT_THAT(layers.layers[1].nodes, ElementsAre("/blocks.0/proj/MatMul", "/blocks.0/proj/Add"));
  EXPECT_THAT(layers.layers[2].nodes, ElementsAre("node_of_norm", "/arg/ArgMax"));
  EXPECT_EQ(layers.layers[2].outputs[0].dtype, DType::kBfloat16);
  EXPECT_EQ(layers.layers[2].outputs[1].dtype, DType::kInt64);
  // A type that models don't have keeps its word.
  EXPECT_EQ(layers.layers[3].outputs[0].dtype, DType::kUndefined);
  EXPECT_EQ(layers.layers[3].outputs[0].format, "FP8");
}

TEST(LayersTest, ReadsTheLayoutOfTensorRt11) {
  const EngineLayers layers = RecordedLayers("layout_11.json");
  EXPECT_TRUE(layers.detailed);
  EXPECT_THAT(layers.bindings, ElementsAre("x", "y"));
  ASSERT_THAT(layers.layers, SizeIs(2));
  EXPECT_EQ(layers.layers[0].inputs[0].dtype, DType::kFloat);
  EXPECT_EQ(layers.layers[0].outputs[0].dtype, DType::kFloat16);
  EXPECT_EQ(layers.layers[0].outputs[0].format, "kHWC8");
}

TEST(LayersTest, TypesAreWordsOfTheFormat) {
  EXPECT_EQ(TypeOf("Row major linear FP16 format"), DType::kFloat16);
  EXPECT_EQ(TypeOf("Thirty-two wide channel vectorized row major Int8 format"), DType::kInt8);
  EXPECT_EQ(TypeOf("Row major linear BOOL"), DType::kBool);
  EXPECT_EQ(TypeOf("Row major linear UInt8"), DType::kUint8);
  EXPECT_EQ(TypeOf("BF16"), DType::kBfloat16);
  EXPECT_EQ(TypeOf("Row major linear Int64 format"), DType::kInt64);
  EXPECT_EQ(TypeOf("Unknown format"), DType::kUndefined);
  EXPECT_EQ(TypeOf(""), DType::kUndefined);
}

TEST(LayersTest, NamesAreAllThatEnginesWithoutDetailsHave) {
  const EngineLayers layers = Named({"Reformatting CopyNode for Input Tensor 0 to a + b", "a + b"});
  EXPECT_FALSE(layers.detailed);
  ASSERT_THAT(layers.layers, SizeIs(2));
  EXPECT_TRUE(layers.layers[0].moves);
  EXPECT_THAT(layers.layers[0].nodes, IsEmpty());
  EXPECT_THAT(layers.layers[1].nodes, ElementsAre("a", "b"));
  EXPECT_EQ(layers.layers[1].type, "");
  EXPECT_FALSE(LayersFromJson(R"({"Layers": [{"Name": "a", "Inputs": [{"Name": "x"}]}]})", "f").detailed);
}

TEST(LayersTest, NodesAreFoundInNames) {
  EXPECT_THAT(NodesNamed("a"), ElementsAre("a"));
  EXPECT_THAT(NodesNamed("c + PWN(PWN(a(1), b), d)"), ElementsAre("c", "a(1)", "b", "d"));
  EXPECT_THAT(NodesNamed("a, b"), ElementsAre("a, b"));
  EXPECT_THAT(NodesNamed("{ForeignNode[lstm]}"), ElementsAre("lstm"));
  EXPECT_THAT(NodesNamed("{ForeignNode[a + (Unnamed Layer* 3) [Shuffle]...b]}"), ElementsAre("a", "b"));
  EXPECT_THAT(NodesNamed("a+b_myl0_12"), ElementsAre("a", "b"));
  EXPECT_THAT(NodesNamed("a+b_mylar"), ElementsAre("a+b_mylar"));
  EXPECT_THAT(NodesNamed("__myl_AddMul_myl0_12"), IsEmpty());
  EXPECT_THAT(NodesNamed("(Unnamed Layer* 4) [Constant]"), IsEmpty());
  EXPECT_FALSE(Named({"{ForeignNode[lstm]}"}).layers[0].region);
  EXPECT_TRUE(Named({"{ForeignNode[a...b]}"}).layers[0].region);
}

TEST(LayersTest, ANodeMayBeNamedLikeALayerOfTensorRts) {
  const EngineLayer layer = LayerOf(
      R"("Name": "shuffle_after_x", "LayerType": "Shuffle", "Metadata": "[ONNX Layer: shuffle_after_x]")");
  EXPECT_FALSE(layer.moves);
  EXPECT_THAT(layer.nodes, ElementsAre("shuffle_after_x"));
}

TEST(LayersTest, BracketsInNamesAreKept) {
  EXPECT_THAT(LayerOf(R"("Name": "l", "Metadata": "[ONNX Layer: a[0]]\u001e[ONNX Layer: b] c]")").nodes,
              ElementsAre("a[0]", "b] c"));
  EXPECT_THAT(LayerOf(R"("Name": "l", "Metadata": "[ONNX Layer: cut off")").nodes, ElementsAre("cut off"));
}

TEST(LayersTest, ControlCharactersBetweenEntriesMayBeBare) {
  EXPECT_THAT(LayerOf("\"Name\": \"l\", \"Metadata\": \"[ONNX Layer: a]\x1f[ONNX Layer: b]\"").nodes,
              ElementsAre("a", "b"));
}

TEST(LayersTest, ShapesThatWereNotSetLeaveTypesOpen) {
  const EngineLayers layers = LayersFromJson(
      R"({"Layers": [{"Name": "a", "Outputs": [{"Name": "y", "Format/Datatype": "N/A due to dynamic shapes"}]}]})",
      "dynamic.json");
  EXPECT_TRUE(layers.detailed);
  EXPECT_FALSE(layers.shaped);
  EXPECT_EQ(layers.layers[0].outputs[0].dtype, DType::kUndefined);
}

TEST(LayersTest, RefusesWhatIsNotAnInspectorsFile) {
  const auto refused = [](const std::string& text, std::initializer_list<std::string_view> parts) {
    ExpectBad([&] { LayersFromJson(text, "layers.json"); }, parts);
  };
  refused("", {"layers.json"});
  refused("[]", {"layers.json", "expected an object", "[]"});
  refused("{}", {"layers.json", "\"Layers\" is missing", "a list"});
  refused(R"({"Layers": 3})", {"\"Layers\" is 3", "a list"});
  refused(R"({"Layers": ["a", 3]})", {"\"Layers\"", "a list of strings"});
  refused(R"({"Layers": [3]})", {"layers.json: Layers[0]", "expected an object, found 3"});
  refused(R"({"Layers": [{}]})", {"Layers[0]", "\"Name\" is missing", "a string"});
  refused(R"({"Layers": [{"Name": "a", "Inputs": {}}]})", {"\"Inputs\" is {}", "a list"});
  refused(R"({"Layers": [{"Name": "a", "Inputs": [{"Name": 3}]}]})",
          {"Layers[0]: Inputs[0]: \"Name\" is 3, expected a string"});
  refused(R"({"Layers": [{"Name": "a", "Metadata": []}]})", {"\"Metadata\" is []", "a string"});
  refused(R"({"Layers": [], "Bindings": [3]})", {"\"Bindings\"", "a list of strings"});
  refused(R"({"Layers": [], "I/O Tensors": [{}]})", {"I/O Tensors[0]: \"Name\" is missing"});
  refused(R"({"Layers": )" + std::string(100000, '['), {"nested"});
  const std::string whole = ReadText(kRecordings / "transformer_ln.fp16.json");
  for (size_t size = 0; size + 4 < whole.size(); size += 97) refused(whole.substr(0, size), {"layers.json"});
}

}  // namespace
}  // namespace halfsafe
