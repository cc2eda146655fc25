#include "data/npz.h"

#include <optional>

#include "data/test_support.h"

namespace halfsafe {
namespace {

/// Little endian, `size` bytes of it.
std::string Number(uint64_t value, size_t size) {
  std::string text;
  for (size_t i = 0; i < size; ++i) text += static_cast<char>(value >> (8 * i) & 0xff);
  return text;
}

/// What a zip's directory says of a member; the tests make it lie.
struct Member {
  std::string name;
  std::string data;                               ///< As stored in the file.
  uint64_t size = 0;                              ///< Claimed size when unpacked.
  uint64_t stored = 0;                            ///< Claimed size in the file.
  int method = 0;                                 ///< 0 stored, 8 deflated.
  std::optional<uint64_t> offset = std::nullopt;  ///< Where it begins, when not at a place of its own.
};

/// The central directory's entry with zip64 sizes.
std::string DirectoryEntry(const Member& member) {
  const std::string extra = Number(1, 2) + Number(24, 2) + Number(member.size, 8) + Number(member.stored, 8) +
                            Number(*member.offset, 8);
  return "PK\1\2" + Number(45, 2) + Number(45, 2) + Number(0, 2) +
         Number(static_cast<uint64_t>(member.method), 2) + Number(0, 2) + Number(0x21, 2) + Number(0, 4) +
         Number(0xffffffff, 4) + Number(0xffffffff, 4) + Number(member.name.size(), 2) +
         Number(extra.size(), 2) + Number(0, 2) + Number(0, 2) + Number(0, 2) + Number(0, 4) +
         Number(0xffffffff, 4) + member.name + extra;
}

/// A zip64 file whose directory claims `count` entries.
std::string Zip(std::vector<Member> members, uint64_t count) {
  std::string file, directory;
  for (Member& member : members) {
    if (!member.offset) {
      member.offset = file.size();
      file += "PK\3\4" + Number(20, 2) + Number(0, 2) + Number(static_cast<uint64_t>(member.method), 2) +
              Number(0, 2) + Number(0x21, 2) + Number(0, 4) + Number(0xffffffff, 4) + Number(0xffffffff, 4) +
              Number(member.name.size(), 2) + Number(20, 2) + member.name + Number(1, 2) + Number(16, 2) +
              Number(member.size, 8) + Number(member.stored, 8) + member.data;
    }
    directory += DirectoryEntry(member);
  }
  const size_t start = file.size();
  file += directory;
  const size_t end = file.size();
  file += "PK\6\6" + Number(44, 8) + Number(45, 2) + Number(45, 2) + Number(0, 4) + Number(0, 4) +
          Number(count, 8) + Number(count, 8) + Number(directory.size(), 8) + Number(start, 8);
  file += "PK\6\7" + Number(0, 4) + Number(end, 8) + Number(1, 4);
  return file + "PK\5\6" + Number(0, 4) + Number(0xffff, 2) + Number(0xffff, 2) + Number(0xffffffff, 4) +
         Number(0xffffffff, 4) + Number(0, 2);
}

void ReadAll(const std::string& bytes) {
  const NpzFile file(Bytes(bytes), "a.npz");
  for (size_t i = 0; i < file.names().size(); ++i) file.Read(i);
}

std::string Written(const std::vector<NamedArray>& arrays) {
  const TempFolder folder;
  WriteNpz(folder / "a.npz", arrays);
  return ReadText(folder / "a.npz");
}

TEST(Npz, RoundTrips) {
  const std::vector<NamedArray> arrays = {{"x", Floats({2, 1}, {1, 2})},
                                          {"a/b:0", MakeArray<int64_t>(DType::kInt64, {}, {-5})},
                                          {"", Floats({0, 3}, {})}};
  const TempFolder folder;
  WriteNpz(folder / "a.npz", arrays);
  const NpzFile file(folder / "a.npz");
  ASSERT_EQ(file.names(), (std::vector<std::string>{"x", "a/b:0", ""}));
  for (size_t i = 0; i < arrays.size(); ++i) ExpectSame(file.Read(i), arrays[i].array);
  EXPECT_EQ(Written(arrays), Written(arrays));  // No time of day in it.
  ExpectBad([&] { WriteNpz(folder / "a.npz", arrays); }, {"a.npz"});
  ExpectBad([&] { WriteNpz(folder / "b.npz", {{"x", {DType::kString, {}, {}}}}); }, {"string"});
  ExpectBad([&] { WriteNpz(folder / "b.npz", {{std::string("a\0b", 3), arrays[0].array}}); }, {"zero byte"});
  EXPECT_FALSE(std::filesystem::exists(folder / "b.npz"));
}

TEST(Npz, ReadsZip64AndForeignMembers) {
  const std::string npy = NpyBytes(Floats({1}, {3}));
  // The checksum is not what 0 claims, so this must be noticed as well.
  const std::string zip = Zip({{"x.npy", npy, npy.size(), npy.size()}}, 1);
  EXPECT_EQ(NpzFile(Bytes(zip), "a.npz").names(), std::vector<std::string>{"x"});
  ExpectBad([&] { ReadAll(zip); }, {"a.npz", "'x'", "CRC"});
  ExpectBad([&] { ReadAll(Zip({{"readme", npy, npy.size(), npy.size()}}, 1)); }, {"no array"});
  ExpectBad(
      [&] {
        ReadAll(Zip({{"x.npy", npy, npy.size(), npy.size()}, {"x.npy", npy, npy.size(), npy.size()}}, 2));
      },
      {"two arrays are named 'x'"});
}

TEST(Npz, RefusesDirectoriesThatLie) {
  const std::string npy = NpyBytes(Floats({1}, {3}));
  for (const uint64_t count :
       {uint64_t{2}, uint64_t{1} << 20, uint64_t{1} << 31, uint64_t{1} << 50, ~uint64_t{0}}) {
    ExpectBad([&] { ReadAll(Zip({{"x.npy", npy, npy.size(), npy.size()}}, count)); }, {"a.npz"});
  }
  ExpectBad([&] { ReadAll(Zip({{"x.npy", npy, npy.size(), uint64_t{1} << 40}}, 1)); }, {"a.npz"});
  ExpectBad(
      [&] {
        ReadAll(Zip({{"x.npy", npy, npy.size(), ~uint64_t{0}}, {"y.npy", npy, 1, 2}}, 2));
      },
      {"a.npz"});
  // Claims to unpack to a terabyte.
  ExpectBad(
      [&] {
        ReadAll(Zip({{"x.npy", npy, uint64_t{1} << 40, npy.size(), 8}}, 1));
      },
      {"cannot come out"});
  // Members that share their bytes.
  const std::string large = NpyBytes(Floats({1000}, std::vector<float>(1000)));
  std::vector<Member> shared(9, {"a.npy", large, large.size(), large.size()});
  for (size_t i = 1; i < shared.size(); ++i) {
    shared[i].name[0] = static_cast<char>('a' + i);
    shared[i].offset = 0;
  }
  ExpectBad([&] { ReadAll(Zip(shared, shared.size())); }, {"claim more bytes"});
}

TEST(Npz, RefusesHeadersThatPromiseMore) {
  std::string npy = NpyBytes(Floats({1}, {3}));
  npy.replace(npy.find("(1,), }") + 0, 14, "(10000000,), }");
  ExpectBad(
      [&] {
        ReadAll(Zip({{"x.npy", npy, npy.size(), npy.size()}}, 1));
      },
      {"'x'", "needs 40000000 bytes"});
  ExpectBad([&] { ReadAll(Zip({{"x.npy", std::string(99, ' '), 99, 99}}, 1)); }, {"'x'", "not a .npy"});
  const std::string small = std::string("\x93NUMPY\1\0\0\0", 10) + std::string(99, ' ');
  ExpectBad([&] { ReadAll(Zip({{"x.npy", small, small.size(), small.size()}}, 1)); }, {"'x'", "header"});
}

TEST(Npz, RefusesEveryTruncation) {
  const std::string whole = Written({{"x", Floats({2, 2}, {1, 2, 3, 4})}, {"y", Floats({}, {5})}});
  ReadAll(whole);
  for (size_t size = 0; size < whole.size(); ++size) {
    ExpectBad([&] { ReadAll(whole.substr(0, size)); }, {"a.npz"});
  }
}

TEST(Npz, SurvivesEveryChangedByte) {
  const std::string whole = Written({{"x", Floats({2, 2}, {1, 2, 3, 4})}});
  for (size_t at = 0; at < whole.size(); ++at) {
    for (const int value : {0x00, 0x01, 0x20, 0x7f, 0x80, 0xff}) {
      std::string changed = whole;
      changed[at] = static_cast<char>(value);
      ExpectGoodOrBad([&] { ReadAll(changed); });
    }
  }
}

TEST(NpzSamples, OneFileIsOneSample) {
  const TempFolder folder;
  WriteNpz(folder / "a.npz", {{"x", Floats({2, 1}, {1, 2})}});
  const auto source = OpenNpzSamples(folder / "a.npz", "a.npz", false);
  ASSERT_EQ(source->size(), 1u);
  EXPECT_EQ(source->Read(0).name, "a.npz");
  ExpectSame(source->Read(0).inputs[0].array, Floats({2, 1}, {1, 2}));
}

TEST(NpzSamples, LeadingAxisInAnyOrder) {
  const TempFolder folder;
  WriteNpz(folder / "a.npz", {{"x", Floats({3, 2}, {1, 2, 3, 4, 5, 6})},
                              {"y", MakeArray<int64_t>(DType::kInt64, {3}, {7, 8, 9})}});
  const auto source = OpenNpzSamples(folder / "a.npz", "a.npz", true);
  ASSERT_EQ(source->size(), 3u);
  for (const uint64_t index : {0, 1, 2, 0, 2, 1, 1}) {
    const Sample sample = source->Read(index);
    EXPECT_EQ(sample.name, "a.npz[" + std::to_string(index) + "]");
    const auto k = static_cast<float>(index);
    ExpectSame(sample.inputs[0].array, Floats({1, 2}, {2 * k + 1, 2 * k + 2}));
    ExpectSame(sample.inputs[1].array,
               MakeArray<int64_t>(DType::kInt64, {1}, {7 + static_cast<int64_t>(index)}));
  }
}

TEST(NpzSamples, LeadingAxisMustAgree) {
  const TempFolder folder;
  const auto open = [&](const std::vector<NamedArray>& arrays) {
    std::filesystem::remove(folder / "a.npz");
    WriteNpz(folder / "a.npz", arrays);
    OpenNpzSamples(folder / "a.npz", "a.npz", true);
  };
  ExpectBad(
      [&] {
        open({{"x", Floats({2}, {1, 2})}, {"y", Floats({1}, {1})}});
      },
      {"'y' holds 1", "'x' holds 2"});
  ExpectBad([&] { open({{"x", Floats({}, {1})}}); }, {"'x'", "scalar"});
  ExpectBad([&] { open({{"x", Floats({int64_t{1} << 40, 0}, {})}}); }, {"'x'", "empty"});
}

TEST(Npz, RefusesWhatIsNoFile) {
  const TempFolder folder;
  ExpectBad([&] { NpzFile file(folder / "none.npz"); }, {"none.npz"});
  ExpectBad([&] { NpzFile file(folder.path()); }, {"not a regular file"});
}

}  // namespace
}  // namespace halfsafe
