#include "data/npy.h"

#include "data/array.h"
#include "data/test_support.h"

namespace halfsafe {
namespace {

std::string Npy(std::string_view header, std::string_view payload, char major = 1) {
  std::string text("\x93NUMPY");
  text += major;
  text += '\0';
  for (int i = 0; i < (major == 1 ? 2 : 4); ++i) text += static_cast<char>(header.size() >> (8 * i) & 0xff);
  return text.append(header).append(payload);
}

std::string Header(std::string_view descr, std::string_view shape, std::string_view fortran = "False") {
  return "{'descr': '" + std::string(descr) + "', 'fortran_order': " + std::string(fortran) +
         ", 'shape': " + std::string(shape) + ", }\n";
}

Array Parse(const std::string& text) { return ParseNpy(Bytes(text), "a.npy"); }

TEST(Array, NamesSizesAndText) {
  EXPECT_EQ(DTypeName(DType::kFloat), "float32");
  EXPECT_EQ(DTypeName(DType::kBfloat16), "bfloat16");
  EXPECT_EQ(DTypeName(DType::kInt4), "int4");
  EXPECT_EQ(DTypeName(static_cast<DType>(27)), "type 27");
  EXPECT_EQ(DTypeFromName("float8e5m2"), DType::kFloat8E5M2);
  EXPECT_EQ(DTypeBits(DType::kInt4), 4u);
  EXPECT_EQ(DTypeSize(DType::kInt4), 0u);
  EXPECT_EQ(ArrayBytes(DType::kInt2, std::vector<int64_t>{3, 3}, "x"), 3u);
  EXPECT_EQ(DTypeSize(DType::kDouble), 8u);
  EXPECT_EQ(DTypeSize(DType::kString), 0u);
  EXPECT_TRUE(IsFloat(DType::kBfloat16));
  EXPECT_FALSE(IsFloat(DType::kInt64));
  EXPECT_EQ(ShapeText(std::vector<int64_t>{1, -1, 3}), "[1, ?, 3]");
  EXPECT_EQ(ShapeText(std::vector<int64_t>{}), "[]");
}

TEST(Array, BytesRefusesOverflow) {
  const auto bytes = [](std::vector<int64_t> shape) { return ArrayBytes(DType::kDouble, shape, "x"); };
  EXPECT_EQ(bytes({}), 8u);
  EXPECT_EQ(bytes({0, 7}), 0u);
  ExpectBad([&] { bytes({int64_t{1} << 61}); }, {"x", "larger"});
  ExpectBad([&] { bytes({int64_t{1} << 32, int64_t{1} << 32, 0}); }, {"larger"});
  ExpectBad([&] { bytes({-1}); }, {"negative"});
  ExpectBad([&] { bytes(std::vector<int64_t>(65, 1)); }, {"65 dimensions"});
}

TEST(Npy, RoundTripsEveryDType) {
  for (const DType dtype : {DType::kBool, DType::kInt8, DType::kInt16, DType::kInt32, DType::kInt64,
                            DType::kUint8, DType::kUint16, DType::kUint32, DType::kUint64, DType::kFloat16,
                            DType::kBfloat16, DType::kFloat, DType::kDouble}) {
    for (const std::vector<int64_t>& shape :
         std::vector<std::vector<int64_t>>{{}, {0}, {3}, {2, 3}, {2, 0, 3}}) {
      Array array{dtype, shape, {}};
      array.bytes.resize(ArrayBytes(dtype, shape, ""));
      for (size_t i = 0; i < array.bytes.size(); ++i) array.bytes[i] = static_cast<std::byte>(i % 2);
      EXPECT_EQ(NpyHeaderBytes(array).size() % 64, 0u);
      ExpectSame(Parse(NpyBytes(array)), array);
    }
  }
  ExpectBad([] { NpyBytes({DType::kString, {}, {}}); }, {"string"});
}

TEST(Npy, ReadsBigEndianAndFortranOrder) {
  EXPECT_EQ(ValuesOf<int16_t>(Parse(Npy(Header(">i2", "(2,)"), std::string("\1\2\3\4", 4)))),
            (std::vector<int16_t>{0x102, 0x304}));
  const Array array = Parse(Npy(Header("|u1", "(2, 3)", "True"), "\1\4\2\5\3\6"));
  EXPECT_EQ(ValuesOf<uint8_t>(array), (std::vector<uint8_t>{1, 2, 3, 4, 5, 6}));
  EXPECT_EQ(array.shape, (std::vector<int64_t>{2, 3}));
}

TEST(Npy, ReadsEveryFormatAndOldPython) {
  for (const char major : {'\1', '\2', '\3'}) {
    EXPECT_EQ(ValuesOf<uint8_t>(Parse(Npy(Header("|u1", "(2L, 1L)"), "\7\11junk", major))),
              (std::vector<uint8_t>{7, 9}));
  }
  EXPECT_EQ(Parse(Npy(Header("<V2", "()"), "ab")).dtype, DType::kBfloat16);
  EXPECT_EQ(Parse(Npy(Header("bfloat16", "(0,)"), "")).dtype, DType::kBfloat16);
}

TEST(Npy, RefusesNonsense) {
  const auto bad = [](const std::string& header, std::string_view part) {
    ExpectBad([&] { Parse(Npy(header, std::string(64, '\0'))); }, {"a.npy", part});
  };
  bad(Header("|O", "()"), "'|O'");
  bad(Header("<U3", "()"), "'<U3'");
  bad(Header("<c8", "()"), "'<c8'");
  bad(Header("", "()"), "''");
  bad("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (), }", "structured");
  bad(Header("<f4", "(-1,)"), "negative");
  bad(Header("<f4", "(99999999999999999999,)"), "too large");
  bad(Header("<f4", "(4294967296, 4294967296)"), "larger");
  bad(Header("<f4", "(0, 4294967296, 4294967296)"), "larger");
  bad(Header("<f4", "(17,)"), "needs 68 bytes, found 64");
  bad(Header("<f4", "3"), "'('");
  bad(Header("<f4", "(3"), "'shape'");
  bad(Header("<f4", "(3.5,)"), "')'");
  bad(Header("<f4", "()", "1"), "neither True nor False");
  bad("", "'{'");
  bad("{}", "lacks");
  bad(Header("<f4", "()") + "x", "goes on");
  bad("{'descr': '<f4', 'descr': '<f4', 'fortran_order': False, 'shape': ()}", "unexpected key");
  bad("{'descr': '<f4', 'fortran_order': False, 'shape': (), 'more': 1}", "'more'");
  bad("{'descr': '<f4", "without an end");
  bad("{descr: 1}", "no string");
}

TEST(Npy, RefusesOtherFiles) {
  ExpectBad([] { Parse("PK\3\4 a zip"); }, {"not a .npy"});
  ExpectBad([] { Parse(""); }, {"not a .npy"});
  ExpectBad([] { Parse(Npy(Header("<f4", "()"), "1234", 4)); }, {"format 4.0"});
  ExpectBad([] { Parse(std::string("\x93NUMPY\2\0\xff\xff\xff\xff", 12)); }, {"4294967295"});
}

TEST(Npy, RefusesEveryTruncation) {
  const std::string whole = NpyBytes(Floats({2, 2}, {1, 2, 3, 4}));
  for (size_t size = 0; size < whole.size(); ++size) {
    ExpectBad([&] { Parse(whole.substr(0, size)); }, {"a.npy"});
  }
}

TEST(Npy, SurvivesEveryChangedByte) {
  const std::string whole = NpyBytes(Floats({2, 2}, {1, 2, 3, 4}));
  for (size_t at = 0; at < whole.size(); ++at) {
    for (int value = 0; value < 256; ++value) {
      std::string changed = whole;
      changed[at] = static_cast<char>(value);
      ExpectGoodOrBad([&] { Parse(changed); });
    }
  }
}

}  // namespace
}  // namespace halfsafe
