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

onnx::TensorProto ExternalTensor(const std::string& location) {
  onnx::TensorProto tensor;
  tensor.set_data_type(onnx::TensorProto::FLOAT);
  tensor.add_dims(4);
  tensor.set_data_location(onnx::TensorProto::EXTERNAL);
  auto* entry = tensor.add_external_data();
  entry->set_key("location");
  entry->set_value(location);
  return tensor;
}

TEST(Model, RefusesExternalDataThatNobodyLooksFor) {
  const TempFolder folder;
  onnx::ModelProto proto = ParsedProto(kDoubled);
  proto.mutable_graph()->mutable_node(0)->set_domain("d");
  proto.add_opset_import()->set_domain("d");
  auto* attribute = proto.mutable_graph()->mutable_node(0)->add_attribute();
  attribute->set_name("list");
  attribute->set_type(onnx::AttributeProto::TENSORS);
  *attribute->add_tensors() = ExternalTensor("weights");
  ExpectBad([&] { Model::Parse(Bytes(proto.SerializeAsString()), folder / "m.onnx"); },
            {"external data, which only"});
  attribute->Clear();
  attribute->set_name("body");
  attribute->set_type(onnx::AttributeProto::GRAPHS);
  *attribute->add_graphs()->add_initializer() = ExternalTensor("weights");
  ExpectBad([&] { Model::Parse(Bytes(proto.SerializeAsString()), folder / "m.onnx"); },
            {"external data, which only"});
}

TEST(Model, RefusesBytesThatFarTooManyInitializersShare) {
  const TempFolder folder;
  onnx::ModelProto proto = WithExternalWeights(folder.path());
  WriteText(folder / "weights", std::string(1 << 20, '\0'));
  const auto share = [&](int times) {
    onnx::ModelProto sharing = proto;
    for (int i = 0; i < times; ++i) {
      onnx::TensorProto tensor = ExternalTensor("weights");
      tensor.set_dims(0, (1 << 20) / sizeof(float));
      tensor.set_name("w" + std::to_string(i));
      *sharing.mutable_graph()->add_initializer() = std::move(tensor);
    }
    Model::Parse(Bytes(sharing.SerializeAsString()), folder / "m.onnx");
  };
  EXPECT_NO_THROW(share(16));
  ExpectBad([&] { share(100); }, {"share external data"});
}

TEST(Model, SparseConstantsStandForABoundedSize) {
  onnx::ModelProto proto = ParsedProto(kDoubled);
  for (int i = 0; i < 3; ++i) {
    auto* sparse = proto.mutable_graph()->add_sparse_initializer();
    sparse->mutable_values()->set_name("s" + std::to_string(i));
    sparse->mutable_values()->set_data_type(onnx::TensorProto::FLOAT);
    sparse->mutable_values()->add_dims(1);
    sparse->mutable_values()->add_float_data(1.0f);
    sparse->mutable_indices()->set_data_type(onnx::TensorProto::INT64);
    sparse->mutable_indices()->add_dims(1);
    sparse->mutable_indices()->add_int64_data(7);
    sparse->add_dims(8 << 20);  // 32 MiB each: two are fine.
  }
  ExpectBad([&] { Model::Parse(Bytes(proto.SerializeAsString()), "m.onnx"); }, {"s2", "when dense"});
  proto.mutable_graph()->mutable_sparse_initializer()->RemoveLast();
  EXPECT_NO_THROW(Model::Parse(Bytes(proto.SerializeAsString()), "m.onnx"));
}

TEST(Model, RefusesMoreOpsetsThanAnyModelHas) {
  onnx::ModelProto proto = ParsedProto(kDoubled);
  for (int i = 0; i < 1000; ++i) proto.add_opset_import()->set_domain(std::to_string(i));
  ExpectBad([&] { Model::Parse(Bytes(proto.SerializeAsString()), "m.onnx"); }, {"imports 1001 opsets"});
}

}  // namespace
}  // namespace halfsafe
