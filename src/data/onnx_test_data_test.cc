#include "data/onnx_test_data.h"

#include <onnx/onnx_pb.h>

#include <functional>

#include "data/array.h"
#include "data/test_support.h"

namespace halfsafe {
namespace {

/// The Array that comes of a tensor that `fill` makes.
Array ReadTensor(int type, const std::vector<int64_t>& dims,
                 const std::function<void(onnx::TensorProto&)>& fill) {
  onnx::TensorProto proto;
  proto.set_data_type(type);
  for (const int64_t dim : dims) proto.add_dims(dim);
  fill(proto);
  const TempFolder folder;
  WriteText(folder / "input_0.pb", proto.SerializeAsString());
  return OpenTestData(folder.path(), "set", InputsNamed({"x"}))->Read(0).inputs.at(0).array;
}

TEST(TestDataIndex, ReadsFileNames) {
  EXPECT_EQ(TestDataIndex("input_0.pb"), 0u);
  EXPECT_EQ(TestDataIndex("input_12.pb"), 12u);
  for (const char* name : {"input_.pb", "input_x.pb", "output_0.pb", "input_0.pbx", "input_-1.pb",
                           "input_1 .pb", "input_99999999999999999999.pb", ".pb", ""}) {
    EXPECT_EQ(TestDataIndex(name), std::nullopt) << name;
  }
}

TEST(TestData, ReadsEveryEncoding) {
  using Proto = onnx::TensorProto;
  const auto floats =
      ReadTensor(Proto::FLOAT, {2}, [](Proto& p) { p.add_float_data(1), p.add_float_data(-2); });
  ExpectSame(floats, Floats({2}, {1, -2}));
  const auto doubles = ReadTensor(Proto::DOUBLE, {}, [](Proto& p) { p.add_double_data(0.1); });
  ExpectSame(doubles, MakeArray<double>(DType::kDouble, {}, {0.1}));
  const auto longs = ReadTensor(Proto::INT64, {1}, [](Proto& p) { p.add_int64_data(INT64_MIN); });
  ExpectSame(longs, MakeArray<int64_t>(DType::kInt64, {1}, {INT64_MIN}));
  const auto unsigned_longs = ReadTensor(Proto::UINT64, {1}, [](Proto& p) { p.add_uint64_data(UINT64_MAX); });
  ExpectSame(unsigned_longs, MakeArray<uint64_t>(DType::kUint64, {1}, {UINT64_MAX}));
  const auto unsigned_ints = ReadTensor(Proto::UINT32, {1}, [](Proto& p) { p.add_uint64_data(UINT32_MAX); });
  ExpectSame(unsigned_ints, MakeArray<uint32_t>(DType::kUint32, {1}, {UINT32_MAX}));

  const auto from_int32 = [](int type, int value) {
    return ReadTensor(type, {1}, [&](Proto& p) { p.add_int32_data(value); });
  };
  ExpectSame(from_int32(Proto::INT32, INT32_MIN), MakeArray<int32_t>(DType::kInt32, {1}, {INT32_MIN}));
  ExpectSame(from_int32(Proto::INT16, -5), MakeArray<int16_t>(DType::kInt16, {1}, {-5}));
  ExpectSame(from_int32(Proto::INT8, -5), MakeArray<int8_t>(DType::kInt8, {1}, {-5}));
  ExpectSame(from_int32(Proto::UINT16, 65535), MakeArray<uint16_t>(DType::kUint16, {1}, {65535}));
  ExpectSame(from_int32(Proto::UINT8, 255), MakeArray<uint8_t>(DType::kUint8, {1}, {255}));
  ExpectSame(from_int32(Proto::BOOL, 1), MakeArray<uint8_t>(DType::kBool, {1}, {1}));
  ExpectSame(from_int32(Proto::FLOAT16, 0xfc00), MakeArray<uint16_t>(DType::kFloat16, {1}, {0xfc00}));
  ExpectSame(from_int32(Proto::BFLOAT16, 0x3f80), MakeArray<uint16_t>(DType::kBfloat16, {1}, {0x3f80}));
  ExpectBad([&] { from_int32(Proto::UINT8, 256); }, {"input_0.pb", "element 0 is 256"});
  ExpectBad([&] { from_int32(Proto::INT8, 128); }, {"element 0 is 128"});

  const auto raw = ReadTensor(Proto::INT16, {2}, [](Proto& p) { p.set_raw_data("\1\0\2\0", 4); });
  ExpectSame(raw, MakeArray<int16_t>(DType::kInt16, {2}, {1, 2}));
  ExpectSame(ReadTensor(Proto::FLOAT, {0, 3}, [](Proto&) {}), Floats({0, 3}, {}));
}

TEST(TestData, RefusesWhatIsNoTensor) {
  using Proto = onnx::TensorProto;
  const auto nothing = [](Proto&) {};
  ExpectBad([&] { ReadTensor(Proto::FLOAT, {2}, nothing); }, {"input_0.pb", "needs 8 bytes, found 0"});
  ExpectBad([&] { ReadTensor(Proto::FLOAT, {-1}, nothing); }, {"negative"});
  ExpectBad([&] { ReadTensor(Proto::FLOAT, {INT64_MAX, 8}, nothing); }, {"larger"});
  ExpectBad([&] { ReadTensor(Proto::FLOAT, {1}, [](Proto& p) { p.set_raw_data("12345"); }); }, {"found 5"});
  ExpectBad([&] { ReadTensor(Proto::STRING, {1}, nothing); }, {"needs 1 elements, found 0"});
  ExpectBad(
      [&] { ReadTensor(Proto::STRING, {1}, [](Proto& p) { p.add_string_data(std::string("a\0b", 3)); }); },
      {"zero byte"});
  ExpectBad([&] { ReadTensor(Proto::COMPLEX64, {0}, nothing); }, {"a tensor of complex64"});
  ExpectBad([&] { ReadTensor(0, {}, nothing); }, {"not a tensor"});
  ExpectBad([&] { ReadTensor(Proto::FLOAT, {0}, [](Proto& p) { p.set_data_location(Proto::EXTERNAL); }); },
            {"external data"});

  const TempFolder folder;
  // A SequenceProto: name "s", elem_type 1, one of tensor_values (data_type 1).
  WriteText(folder / "input_0.pb", "\x0a\1s\x10\1\x1a\2\x10\1");
  ExpectBad([&] { OpenTestData(folder.path(), "set", InputsNamed({"x"}))->Read(0); },
            {"input_0.pb", "not a tensor"});
}

TEST(TestData, ReadsStringsAndPackedElements) {
  using Proto = onnx::TensorProto;
  const Array strings = ReadTensor(Proto::STRING, {3}, [](Proto& p) {
    for (const char* text : {"a", "", "\xC3\xA9"}) p.add_string_data(text);
  });
  EXPECT_EQ(StringsOf(strings.bytes), (std::vector<std::string_view>{"a", "", "\xC3\xA9"}));
  const Array packed = ReadTensor(Proto::UINT4, {3}, [](Proto& p) {
    p.add_int32_data(0x21);
    p.add_int32_data(0x03);
  });
  EXPECT_EQ(packed.dtype, DType::kUint4);
  EXPECT_EQ(packed.bytes, (std::vector<std::byte>{std::byte{0x21}, std::byte{0x03}}));
  ExpectBad([&] { ReadTensor(Proto::UINT4, {3}, [](Proto& p) { p.set_raw_data("1"); }); },
            {"needs 2 bytes, found 1"});
}

TEST(TestData, ReadsSequences) {
  const TempFolder folder;
  // A SequenceProto: elem_type 1 and two tensor_values, each with dims 1, data_type 6 and int32_data.
  WriteText(folder / "input_0.pb", "\x10\1\x1a\6\x08\1\x10\6\x28\7\x1a\6\x08\1\x10\6\x28\x08");
  const std::vector<InputSpec> inputs = {{"s", DType::kInt32, {}, true, true}};
  const Sample sample = OpenTestData(folder.path(), "set", inputs)->Read(0);
  ASSERT_EQ(sample.inputs.size(), 1u);
  ASSERT_TRUE(sample.inputs[0].sequence.has_value());
  ASSERT_EQ(sample.inputs[0].sequence->size(), 2u);
  ExpectSame((*sample.inputs[0].sequence)[1], MakeArray<int32_t>(DType::kInt32, {1}, {8}));
  ValidateSample(sample, inputs);
  ExpectBad(
      [&] {
        ValidateSample(sample, {{"s", DType::kInt32, {}, true}});
      },
      {"a sequence, the model expects a tensor"});
  ExpectBad([&] { ValidateSample(sample, {{"s", DType::kInt64, {}, true, true}}); }, {"'s'[0]", "int32"});
  EXPECT_THROW(WriteSamples(*OpenTestData(folder.path(), "set", inputs), folder / "out"), Error);
}

TEST(TestData, NamesComeFromTheModel) {
  const TempFolder folder;
  onnx::TensorProto proto;
  proto.set_data_type(1);
  proto.add_float_data(1);
  for (const int i : {0, 1, 10})
    WriteText(folder / ("input_" + std::to_string(i) + ".pb"), proto.SerializeAsString());
  std::vector<InputSpec> inputs;
  for (int i = 0; i < 11; ++i)
    inputs.push_back({std::string(1, static_cast<char>('a' + i)), DType::kFloat, {}});
  const Sample sample = OpenTestData(folder.path(), "set", inputs)->Read(0);
  EXPECT_EQ(sample.name, "set");
  ASSERT_EQ(sample.inputs.size(), 3u);
  EXPECT_EQ(sample.inputs[1].name, "b");
  EXPECT_EQ(sample.inputs[2].name, "k");
  inputs.resize(2);
  ExpectBad([&] { OpenTestData(folder.path(), "set", inputs)->Read(0); }, {"input_10.pb", "model has 2"});
  ExpectBad([&] { OpenTestData(folder.path(), "set", {})->Read(0); }, {"input_0.pb", "name"});
}

TEST(TestData, SurvivesTruncationAndChanges) {
  onnx::TensorProto proto;
  proto.set_data_type(1);
  proto.set_name("x");
  proto.add_dims(2);
  proto.set_raw_data("12345678");
  const std::string whole = proto.SerializeAsString();
  const TempFolder folder;
  const auto read = [&](const std::string& bytes) {
    WriteText(folder / "input_0.pb", bytes);
    OpenTestData(folder.path(), "set", InputsNamed({"x"}))->Read(0);
  };
  for (size_t at = 0; at < whole.size(); ++at) {
    ExpectGoodOrBad([&] { read(whole.substr(0, at)); });
    for (int value = 0; value < 256; value += 5) {
      std::string changed = whole;
      changed[at] = static_cast<char>(value);
      ExpectGoodOrBad([&] { read(changed); });
    }
  }
}

}  // namespace
}  // namespace halfsafe
