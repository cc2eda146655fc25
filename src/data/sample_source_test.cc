#include <sys/stat.h>

#include <cmath>

#include "data/folder.h"
#include "data/npy.h"
#include "data/npy_folder.h"
#include "data/npz.h"
#include "data/test_support.h"

namespace halfsafe {
namespace {

/// The names of all samples, without the folder.
std::vector<std::string> Names(const SampleSource& source, const TempFolder& folder) {
  std::vector<std::string> names;
  for (uint64_t i = 0; i < source.size(); ++i) {
    names.push_back(source.Read(i).name.substr(folder.path().string().size() + 1));
  }
  return names;
}

void WriteNpy(const std::filesystem::path& path, float value = 0) {
  WriteText(path, NpyBytes(Floats({1}, {value})));
}

TEST(NaturalLess, OrdersNumbersByValue) {
  const std::vector<std::string> ordered = {"",   "01", "1",   "1a", "02",  "2",
                                            "10", "a",  "a1b", "a2", "a10", "b"};
  for (size_t i = 0; i < ordered.size(); ++i) {
    for (size_t k = 0; k < ordered.size(); ++k) {
      EXPECT_EQ(NaturalLess(ordered[i], ordered[k]), i < k) << ordered[i] << " " << ordered[k];
    }
  }
}

TEST(OpenSamples, FindsEveryKindInNaturalOrder) {
  const TempFolder folder;
  std::filesystem::create_directory(folder / "d");
  WriteNpz(folder / "d/10.npz", {{"x", Floats({2}, {1, 2})}});
  WriteNpz(folder / "d/9.npz", {{"x", Floats({2}, {1, 2})}});
  WriteNpy(folder / "d/sub/3/x.npy");
  WriteText(folder / "d/sub/4/input_0.pb", "");
  WriteText(folder / "d/readme.txt", "ignored");
  WriteText(folder / "d/.hidden.json", "ignored");
  WriteText(folder / "d/a.json", "[{}, {}]");
  const std::vector<std::filesystem::path> paths = {folder / "d"};
  const auto source = OpenSamples(paths, InputsNamed({"x"}), {});
  ASSERT_EQ(source->size(), 6u);
  ExpectBad([&] { source->Read(5); }, {"sub/4/input_0.pb"});
  std::filesystem::remove_all(folder / "d/sub/4");
  EXPECT_EQ(Names(*OpenSamples(paths, {}, {}), folder),
            (std::vector<std::string>{"d/9.npz", "d/10.npz", "d/a.json[0]", "d/a.json[1]", "d/sub/3"}));
  EXPECT_EQ(Names(*OpenSamples({folder / "d/9.npz"}, {}, {.leading_axis = true}), folder),
            (std::vector<std::string>{"d/9.npz[0]", "d/9.npz[1]"}));
}

TEST(OpenSamples, KeepsNamesUnique) {
  const TempFolder folder;
  WriteText(folder / "a.json", "[{}, {}]");
  EXPECT_EQ(Names(*OpenSamples({folder / "a.json", folder / "a.json", folder.path()}, {}, {}), folder),
            (std::vector<std::string>{"a.json[0]", "a.json[1]", "a.json[0]#2", "a.json[1]#2", "a.json[0]#3",
                                      "a.json[1]#3"}));
}

TEST(OpenSamples, DoesNotFollowLoops) {
  const TempFolder folder;
  WriteNpy(folder / "d/one/x.npy");
  std::filesystem::create_directory_symlink("..", folder / "d/up");
  std::filesystem::create_directory_symlink("d", folder / "also");
  std::filesystem::create_symlink("nowhere.json", folder / "d/broken.json");
  std::filesystem::create_symlink("self", folder / "d/self");
  EXPECT_EQ(OpenSamples({folder.path()}, {}, {})->size(), 1u);
}

TEST(OpenSamples, SaysWhatItLookedFor) {
  const TempFolder folder;
  const auto open = [&](const std::filesystem::path& path) { OpenSamples({path}, {}, {}); };
  ExpectBad([&] { open(folder.path()); }, {folder.path().string(), ".npz", "input_0.pb"});
  ExpectBad([&] { open(folder / "none"); }, {"none", "No such file"});
  WriteText(folder / "a.txt", "");
  ExpectBad([&] { open(folder / "a.txt"); }, {"a.txt", ".npz"});
  ExpectBad([&] { open("/dev/null"); }, {"/dev/null"});
  ExpectBad([&] { OpenSamples({}, {}, {}); }, {"no samples"});
  WriteText(folder / "a.json", "[]");
  ExpectBad([&] { open(folder / "a.json"); }, {"no samples"});
  ASSERT_EQ(mkfifo((folder / "pipe.json").c_str(), 0600), 0);
  ExpectBad([&] { open(folder / "pipe.json"); }, {"pipe.json"});
}

TEST(NpyFolder, MatchesFileNamesToInputs) {
  const auto inputs = InputsNamed({"in/a:0", "b_c", "b/c", "d/e", "d_e", "f:g", "f/g"});
  EXPECT_EQ(InputForStem("in_a_0", inputs), "in/a:0");
  EXPECT_EQ(InputForStem("in__a__0", inputs), "in/a:0");
  EXPECT_EQ(InputForStem("in_a:0", inputs), "in/a:0");
  EXPECT_EQ(InputForStem("b_c", inputs), "b_c");
  EXPECT_EQ(InputForStem("b__c", inputs), "b/c");
  EXPECT_EQ(InputForStem("f_g", inputs), "f_g");  // Two could be meant.
  EXPECT_EQ(InputForStem("other", inputs), "other");
  const TempFolder folder;
  WriteNpy(folder / "in_a_0.npy", 3);
  const Sample sample = OpenNpyFolder(folder.path(), "set", inputs)->Read(0);
  EXPECT_EQ(sample.name, "set");
  EXPECT_EQ(sample.inputs.at(0).name, "in/a:0");
  ExpectSame(sample.inputs[0].array, Floats({1}, {3}));
  WriteText(folder / "bad.npy", "x");
  ExpectBad([&] { OpenNpyFolder(folder.path(), "set", inputs)->Read(0); }, {"bad.npy"});
}

TEST(WriteSamples, RoundTripsAndReplaces) {
  const auto random = RandomSamples(3, {{"x", DType::kFloat, {2, -1}}, {"m/k", DType::kInt64, {}}});
  for (const std::string name : {"out.json", "out"}) {
    const TempFolder folder;
    WriteSamples(*random, folder / name);
    const auto source = OpenSamples({folder / name}, {}, {});
    ASSERT_EQ(source->size(), 3u);
    for (uint64_t i = 0; i < 3; ++i) {
      const Sample a = random->Read(i), b = source->Read(i);
      ASSERT_EQ(b.inputs.size(), 2u);
      for (size_t k = 0; k < 2; ++k) {
        EXPECT_EQ(a.inputs[k].name, b.inputs[k].name);
        ExpectSame(a.inputs[k].array, b.inputs[k].array);
      }
    }
  }
}

TEST(WriteSamples, TakesAnEmptyFolderButNoOther) {
  const auto random = RandomSamples(2, {{"x", DType::kFloat, {1}}});
  const TempFolder folder;
  std::filesystem::create_directory(folder / "out");
  WriteSamples(*random, (folder / "out").string() + "/");
  EXPECT_EQ(ListFolder(folder / "out"),
            (std::vector<std::filesystem::path>{"0000000000.npz", "0000000001.npz"}));
  EXPECT_FALSE(std::filesystem::is_empty(folder / "out"));
  ExpectBad([&] { WriteSamples(*random, folder / "out"); }, {"out", "not empty"});
  WriteText(folder / "file", "kept");
  ExpectBad([&] { WriteSamples(*random, folder / "file"); }, {"file is there"});
  ExpectBad([&] { WriteSamples(*random, folder / "none/out"); }, {"none/out", "No such file"});
  EXPECT_EQ(ReadText(folder / "file"), "kept");
}

TEST(WriteSamples, LeavesNothingOnFailure) {
  const TempFolder folder;
  WriteText(folder / "in.json", "[{}, 3]");
  const auto source = OpenSamples({folder / "in.json"}, {}, {});
  std::filesystem::create_directory(folder / "empty");
  for (const std::string name : {"out.json", "out", "empty"}) {
    ExpectBad([&] { WriteSamples(*source, folder / name); }, {"in.json[1]"});
  }
  EXPECT_TRUE(std::filesystem::is_empty(folder / "empty"));
  EXPECT_EQ(ListFolder(folder.path()), (std::vector<std::filesystem::path>{"empty", "in.json"}));
}

TEST(EverySample, Strides) {
  const auto random = RandomSamples(10, {{"x", DType::kFloat, {1}}});
  const auto some = EverySample(*random, 1, 4);
  ASSERT_EQ(some->size(), 3u);
  EXPECT_EQ(some->Read(2).name, "random[9]");
  EXPECT_EQ(EverySample(*random, 2, 4)->size(), 2u);
  EXPECT_EQ(EverySample(*random, 10, 1)->size(), 0u);
  EXPECT_EQ(EverySample(*random, 0, UINT64_MAX)->size(), 1u);
  EXPECT_THROW(EverySample(*random, 0, 0), Error);
}

TEST(RandomSamples, AreReproducibleAndNormal) {
  const std::vector<InputSpec> inputs = {{"f", DType::kFloat, {10000}},
                                         {"h", DType::kFloat16, {10000}},
                                         {"b", DType::kBfloat16, {-1, 3}},
                                         {"i", DType::kInt64, {1000}},
                                         {"any", DType::kDouble, {}, true}};
  const Sample a = RandomSamples(5, inputs)->Read(3), b = RandomSamples(9, inputs)->Read(3);
  for (size_t i = 0; i < inputs.size(); ++i) ExpectSame(a.inputs[i].array, b.inputs[i].array);
  EXPECT_NE(a.inputs[0].array.bytes, RandomSamples(5, inputs)->Read(4).inputs[0].array.bytes);
  ValidateSample(a, inputs);
  double sum = 0, squares = 0;
  for (const float value : ValuesOf<float>(a.inputs[0].array)) {
    sum += value;
    squares += double{value} * value;
  }
  EXPECT_NEAR(sum / 10000, 0, 0.05);
  EXPECT_NEAR(squares / 10000, 1, 0.05);
  int64_t ones = 0;
  for (const int64_t value : ValuesOf<int64_t>(a.inputs[3].array)) {
    EXPECT_TRUE(value == 0 || value == 1);
    ones += value;
  }
  EXPECT_NEAR(static_cast<double>(ones), 500, 100);
  squares = 0;
  for (const uint16_t bits : ValuesOf<uint16_t>(a.inputs[1].array)) {
    const int exponent = (bits >> 10 & 31) - 25;
    squares += std::pow((bits & 0x3ff) + (bits & 0x7c00 ? 1024 : 0), 2) * std::pow(4.0, exponent);
  }
  EXPECT_NEAR(squares / 10000, 1, 0.05);
  ExpectBad([] { RandomSamples(1, {{"s", DType::kString, {}}})->Read(0); }, {"'s'", "string"});
  ExpectBad([] { RandomSamples(1, {{"s", DType::kFloat, {INT64_MAX}}})->Read(0); }, {"'s'", "larger"});
}

}  // namespace
}  // namespace halfsafe
