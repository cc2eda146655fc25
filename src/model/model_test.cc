#include "halfsafe/model.h"

#include <onnx/onnx_pb.h>

#include "base/file.h"
#include "model/graph_index.h"
#include "model/test_support.h"

namespace halfsafe {
namespace {

constexpr char kDoubled[] = R"(<ir_version: 8, opset_import: ["" : 17]>
    g (float[4] x) => (float[4] y) <float[4] w = {1, 2, 3, 4}> { y = Mul(x, w) })";

/// The model with its weights in a file beside it.
onnx::ModelProto WithExternalWeights(const std::filesystem::path& folder) {
  onnx::ModelProto proto = ParsedProto(kDoubled);
  const std::vector<float> values = {1, 2, 3, 4};
  WriteText(folder / "weights",
            std::string(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float)));
  auto* tensor = proto.mutable_graph()->mutable_initializer(0);
  tensor->clear_float_data();
  tensor->set_data_location(onnx::TensorProto::EXTERNAL);
  auto* location = tensor->add_external_data();
  location->set_key("location");
  location->set_value("weights");
  return proto;
}

TEST(Model, ParsedIsWhatIsLoaded) {
  const TempFolder folder;
  const std::string bytes = ParsedProto(kDoubled).SerializeAsString();
  WriteText(folder / "model.onnx", bytes);
  const Model loaded = Model::Load(folder / "model.onnx");
  const Model parsed = Model::Parse(Bytes(bytes), folder / "model.onnx");
  EXPECT_EQ(parsed.sha256(), loaded.sha256());
  EXPECT_EQ(parsed.path(), loaded.path());
  EXPECT_EQ(parsed.proto().SerializeAsString(), loaded.proto().SerializeAsString());
}

TEST(Model, ParsedFindsExternalDataBesideItsPath) {
  const TempFolder folder;
  const std::string bytes = WithExternalWeights(folder.path()).SerializeAsString();
  const Model parsed = Model::Parse(Bytes(bytes), folder / "any name");
  EXPECT_EQ(ReadFloats(parsed, parsed.proto().graph().initializer(0)), std::vector<float>({1, 2, 3, 4}));
  ExpectBad([&] { Model::Parse(Bytes(bytes), folder / "elsewhere" / "any name"); }, {"any name", "weights"});
}

TEST(Model, ShapeInferenceSeesSmallExternalTensors) {
  const TempFolder folder;
  onnx::ModelProto proto = ParsedProto(R"(<ir_version: 8, opset_import: ["" : 17]>
    g (float[4] x) => (float[n] y) <int64[1] begin = {1}, int64[1] end = {3}> {
      part = Slice(x, begin, end)
      y = Relu(part)
    })");
  for (auto& tensor : *proto.mutable_graph()->mutable_initializer()) {
    const int64_t value = tensor.int64_data(0);
    WriteText(folder / tensor.name(), std::string(reinterpret_cast<const char*>(&value), sizeof(value)));
    tensor.clear_int64_data();
    tensor.set_data_location(onnx::TensorProto::EXTERNAL);
    auto* location = tensor.add_external_data();
    location->set_key("location");
    location->set_value(tensor.name());
  }
  const std::string bytes = proto.SerializeAsString();
  const Model model = Model::Parse(Bytes(bytes), folder / "model.onnx");
  const TensorInfo& part = model.index().tensor(model.index().FindTensor("part"));
  EXPECT_EQ(part.dtype, DType::kFloat);
  EXPECT_EQ(part.shape, std::vector<int64_t>({2}));
}

TEST(Model, RefusesBytesThatAreNoModel) {
  ExpectBad([] { Model::Parse(Bytes("no model"), "these bytes"); }, {"these bytes", "not an ONNX model"});
  ExpectBad([] { Model::Parse({}, "these bytes"); }, {"these bytes", "found no graph"});
}

TEST(Model, BytesAreThoseOfTheSavedFile) {
  const TempFolder folder;
  WriteText(folder / "model.onnx", WithExternalWeights(folder.path()).SerializeAsString());
  const Model model = Model::Load(folder / "model.onnx");
  model.Save(folder / "saved.onnx");
  const std::string bytes = model.ToBytes();
  EXPECT_EQ(bytes, ReadText(folder / "saved.onnx"));
  const Model inside = Model::Parse(Bytes(bytes), "inside");
  EXPECT_EQ(ReadFloats(inside, inside.proto().graph().initializer(0)), std::vector<float>({1, 2, 3, 4}));
}

}  // namespace
}  // namespace halfsafe
