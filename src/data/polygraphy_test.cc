#include "data/polygraphy.h"

#include "data/npy.h"
#include "data/npz.h"
#include "data/test_support.h"

namespace halfsafe {
namespace {

const std::filesystem::path kFixtures = std::filesystem::path(HALFSAFE_SOURCE_DIR) / "tests/data/polygraphy";

std::string Base64(const std::string& bytes) { return Base64Encode(Bytes(bytes)); }

Sample ReadInput(const std::string& text, uint64_t index = 0) {
  const TempFolder folder;
  WriteText(folder / "in.json", text);
  return OpenPolygraphyInputs(folder / "in.json", "in.json")->Read(index);
}

/// A list of one sample whose input "x" is `value`.
std::string One(const std::string& value) { return "[{\"x\": " + value + "}]"; }

std::string Ndarray(const std::string& payload) {
  return "{\"array\": \"" + payload + "\", \"polygraphy_class\": \"ndarray\"}";
}

/// `bytes` as Python's json writes a latin-1 string.
std::string Latin1(const std::string& bytes) {
  std::string text;
  for (const char c : bytes) {
    constexpr std::string_view kHex = "0123456789abcdef";
    const auto byte = static_cast<unsigned char>(c);
    text += std::string("\\u00") + kHex[byte >> 4] + kHex[byte & 15];
  }
  return text;
}

TEST(PolygraphyInputs, ReadsWhatTheToolWrote) {
  const auto source = OpenPolygraphyInputs(kFixtures / "inputs.json", "inputs.json");
  ASSERT_EQ(source->size(), 2u);
  const Sample sample = source->Read(1);
  EXPECT_EQ(sample.name, "inputs.json[1]");
  ASSERT_EQ(sample.inputs.size(), 1u);
  EXPECT_EQ(sample.inputs[0].name, "x");
  ExpectSame(sample.inputs[0].array, Floats({1, 3}, {100000, 70000, -4}));
}

TEST(PolygraphyInputs, ReadsOtherShapesOfFile) {
  const std::string array = Ndarray(Base64(NpyBytes(Floats({1}, {2}))));
  EXPECT_EQ(ReadInput("{\"x\": " + array + "}").name, "in.json");
  EXPECT_EQ(ReadInput("{\"lst\": [{}, {\"x\": " + array + "}]}", 1).name, "in.json[1]");
  EXPECT_EQ(ReadInput("{\"lst\": " + array + "}").inputs[0].name, "lst");
  const TempFolder folder;
  WriteText(folder / "in.json", "[]");
  EXPECT_EQ(OpenPolygraphyInputs(folder / "in.json", "in.json")->size(), 0u);
}

TEST(PolygraphyInputs, ReadsLegacyPayloads) {
  const Array array = Floats({2}, {-1, 1e30f});
  const TempFolder folder;
  WriteNpz(folder / "a.npz", {{"first", array}, {"second", Floats({}, {0})}});
  for (const std::string& bytes : {NpyBytes(array), ReadText(folder / "a.npz")}) {
    for (const std::string& payload : {Base64(bytes), Latin1(bytes)}) {
      ExpectSame(ReadInput(One(Ndarray(payload))).inputs[0].array, array);
      const std::string legacy =
          "{\"__polygraphy_encoded_ndarray\": \"polygraphy_serialized_json_type\", \"array\": \"" + payload +
          "\"}";
      ExpectSame(ReadInput(One(legacy)).inputs[0].array, array);
      const std::string lazy = "{\"values\": " + legacy + ", \"polygraphy_class\": \"LazyNumpyArray\"}";
      ExpectSame(ReadInput(One(lazy)).inputs[0].array, array);
    }
  }
}

TEST(PolygraphyInputs, NamesWhatIsWrong) {
  const auto bad = [](const std::string& value, std::initializer_list<std::string_view> parts) {
    ExpectBad([&] { ReadInput(One(value)); }, {"in.json[0]", "'x'"});
    ExpectBad([&] { ReadInput(One(value)); }, parts);
  };
  bad("3", {"found a plain value"});
  bad("[3]", {"found a list"});
  bad("{}", {"found none"});
  bad("{\"polygraphy_class\": \"ndarray\"}", {"\"array\""});
  bad("{\"polygraphy_class\": \"ndarray\", \"array\": 3}", {"\"array\""});
  bad("{\"polygraphy_class\": \"LazyArray\", \"values\": 3}", {"LazyArray"});
  bad("{\"polygraphy_class\": \"Algorithm\", \"array\": \"AAAA\"}", {"found Algorithm"});
  bad("{\"polygraphy_class\": \"Tensor\", \"tensor\": \"AAAA\"}", {"torch", "numpy"});
  bad(Ndarray(""), {"\"array\""});
  bad(Ndarray("!!!!"), {"base64"});
  bad(Ndarray("AAA"), {"base64"});
  bad(Ndarray("\\u0093NUMPY\\u0100"), {"neither base64 nor latin-1"});
  bad(Ndarray("\\u0093NUMPY\\u0001"), {"header"});
  bad(Ndarray("AAAA"), {"not a .npy"});
  bad(Ndarray("UEsDBAAA"), {"zip"});
  bad(Ndarray("\\uZZZZ"), {"not a valid JSON string"});
  const std::string npy = NpyBytes(Floats({3}, {1, 2, 3}));
  bad(Ndarray(Base64(npy.substr(0, npy.size() - 1))), {"needs 12 bytes, found 11"});
  ExpectBad([] { ReadInput("3"); }, {"in.json", "expected a list"});
  ExpectBad([] { ReadInput("[3]"); }, {"in.json[0]", "object"});
  ExpectBad([] { OpenPolygraphyInputs(kFixtures / "outputs.json", "o.json"); }, {"o.json", "recorded"});
}

TEST(PolygraphyInputs, RefusesEveryTruncationAndSurvivesChanges) {
  const std::string whole = One(Ndarray(Base64(NpyBytes(Floats({1}, {2})))));
  for (size_t size = 0; size < whole.size(); ++size) {
    ExpectBad([&] { ReadInput(whole.substr(0, size)); }, {"in.json"});
  }
  for (size_t at = 0; at < whole.size(); ++at) {
    for (const char value : {'\0', '"', '\\', '{', '}', '[', ']', ',', ':', '=', '-', '\n', '\xff'}) {
      std::string changed = whole;
      changed[at] = value;
      ExpectGoodOrBad([&] { ReadInput(changed); });
    }
  }
}

TEST(PolygraphyInputs, NoticesAChangedFile) {
  const TempFolder folder;
  WriteText(folder / "in.json", One(Ndarray(Base64(NpyBytes(Floats({1}, {2}))))));
  const auto source = OpenPolygraphyInputs(folder / "in.json", "in.json");
  WriteText(folder / "in.json", "[]");
  ExpectBad([&] { source->Read(0); }, {"in.json", "shorter"});
  std::filesystem::remove(folder / "in.json");
  ExpectBad([&] { source->Read(0); }, {"in.json"});
}

TEST(RecordedOutputs, ReadsWhatTheToolWrote) {
  const auto one = OpenRecordedOutputs({kFixtures / "outputs.json"});
  const auto many = OpenRecordedOutputs({kFixtures / "outputs_dir"});
  ASSERT_EQ(one->size(), 2u);
  ASSERT_EQ(many->size(), 2u);
  for (uint64_t i = 0; i < 2; ++i) {
    const Sample a = one->Read(i), b = many->Read(i);
    ASSERT_EQ(a.inputs.size(), 5u);
    for (size_t k = 0; k < 5; ++k) {
      EXPECT_EQ(a.inputs[k].name, b.inputs[k].name);
      ExpectSame(a.inputs[k].array, b.inputs[k].array);
    }
  }
  EXPECT_THAT(many->Read(1).name, testing::EndsWith("outputs_dir/0000000001.json[0]"));
  ExpectSame(one->Read(0).inputs[0].array, Floats({1, 3}, {2.5, -5, 7.5}));
  EXPECT_EQ(one->Read(0).inputs[4].array.dtype, DType::kFloat16);
}

/// The samples in the fixture written_outputs.json, which tests/data_test.py holds against Polygraphy.
std::vector<std::vector<NamedArray>> WrittenSamples() {
  return {{{"y", Floats({1, 3}, {1, -2, 3e38f})}, {"a/b:0", MakeArray<int64_t>(DType::kInt64, {}, {-7})}},
          {{"\xC3\xBC\"\\", MakeArray<uint16_t>(DType::kFloat16, {2}, {0x3c00, 0x7c00})},
           {"none", MakeArray<uint8_t>(DType::kBool, {0, 2}, {})}}};
}

TEST(RecordedOutputs, WritesTheFixtureThatPolygraphyReads) {
  const TempFolder folder;
  RecordedOutputsWriter writer(folder / "out.json", "halfsafe-fp32");
  for (const auto& sample : WrittenSamples()) writer.Add(sample);
  writer.Commit();
  EXPECT_EQ(ReadText(folder / "out.json"), ReadText(kFixtures / "written_outputs.json"));
}

TEST(RecordedOutputs, RoundTripsAsFileAndFolder) {
  for (const std::string name : {"out.json", "out"}) {
    const TempFolder folder;
    RecordedOutputsWriter writer(folder / name, "runner");
    for (const auto& sample : WrittenSamples()) writer.Add(sample);
    EXPECT_FALSE(std::filesystem::exists(folder / name));
    writer.Commit();
    const auto source = OpenRecordedOutputs({folder / name});
    ASSERT_EQ(source->size(), 2u);
    for (uint64_t i = 0; i < 2; ++i) {
      const Sample sample = source->Read(i);
      ASSERT_EQ(sample.inputs.size(), WrittenSamples()[i].size());
      for (size_t k = 0; k < sample.inputs.size(); ++k) {
        EXPECT_EQ(sample.inputs[k].name, WrittenSamples()[i][k].name);
        ExpectSame(sample.inputs[k].array, WrittenSamples()[i][k].array);
      }
    }
  }
}

TEST(RecordedOutputs, LeavesNothingWithoutCommit) {
  for (const std::string name : {"out.json", "out"}) {
    const TempFolder folder;
    {
      RecordedOutputsWriter writer(folder / name, "runner");
      writer.Add(WrittenSamples()[0]);
      ExpectBad([&] { writer.Add({{"\xff", Floats({}, {1})}}); }, {"UTF-8"});
    }
    EXPECT_TRUE(std::filesystem::is_empty(folder.path()));
  }
}

TEST(RecordedOutputs, RefusesOtherFiles) {
  const TempFolder folder;
  const auto open = [&](const std::string& text) {
    WriteText(folder / "o.json", text);
    OpenRecordedOutputs({folder / "o.json"})->Read(0);
  };
  ExpectBad([&] { open("[]"); }, {"o.json", "Polygraphy records"});
  ExpectBad([&] { open("{\"lst\": 3}"); }, {"Polygraphy records"});
  ExpectBad([&] { open("{\"lst\": []}"); }, {"no iteration"});
  ExpectBad([&] { open("{\"lst\": [[\"runner\", []]]}"); }, {"no iteration"});
  ExpectBad([&] { open("{\"lst\": [[\"runner\"]]}"); }, {"runner name"});
  ExpectBad([&] { open("{\"lst\": [[[], \"runner\"]]}"); }, {"runner name"});
  ExpectBad([&] { open("{\"lst\": [[\"runner\", [3]]]}"); }, {"o.json[0]", "object"});
  ExpectBad([&] { open("{\"lst\": [[\"runner\", [{}]]]}"); }, {"\"outputs\""});
  ExpectBad([&] { open("{\"lst\": [[\"runner\", [{\"outputs\": {\"y\": 3}}]]]}"); },
            {"o.json[0]", "tensor 'y'"});
  ExpectBad([&] { OpenRecordedOutputs({folder / "none.json"}); }, {"none.json"});
  ExpectBad([&] { OpenRecordedOutputs({"/dev/null"}); }, {"/dev/null", "regular"});
  std::filesystem::create_directory(folder / "empty");
  ExpectBad([&] { OpenRecordedOutputs({folder / "empty"}); }, {"empty", ".json"});
  const std::string file = ReadText(kFixtures / "outputs_dir/0000000000.json");
  const std::string whole = file.substr(0, file.rfind('}') + 1);
  for (size_t size = 0; size < whole.size(); size += size < 700 ? 1 : 7) {
    ExpectBad([&] { open(whole.substr(0, size)); }, {"o.json"});
  }
}

TEST(RecordedOutputs, TakesTheFirstOfSeveralRunners) {
  const auto run = [](const std::string& name, float value) {
    return "[\"" + name + "\", [{\"outputs\": {\"y\": " + Ndarray(Base64(NpyBytes(Floats({}, {value})))) +
           "}}]]";
  };
  const TempFolder folder;
  WriteText(folder / "o.json", "{\"lst\": [" + run("first", 1) + ", " + run("second", 2) + "]}");
  const auto source = OpenRecordedOutputs({folder / "o.json"});
  ASSERT_EQ(source->size(), 1u);
  ExpectSame(source->Read(0).inputs[0].array, Floats({}, {1}));
}

}  // namespace
}  // namespace halfsafe
