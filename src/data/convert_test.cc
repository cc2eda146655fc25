#include "data/convert.h"

#include <gtest/gtest.h>

#include <cstring>
#include <limits>

#include "data/test_support.h"

namespace halfsafe {
namespace {

template <typename Value>
Array ArrayOf(DType dtype, const std::vector<Value>& values) {
  Array array{
      dtype, {static_cast<int64_t>(values.size())}, std::vector<std::byte>(values.size() * sizeof(Value))};
  std::memcpy(array.bytes.data(), values.data(), array.bytes.size());
  return array;
}

TEST(ConvertArray, RoundsFloatsToTheTypeThatIsWanted) {
  const Array doubles = ArrayOf<double>(DType::kDouble, {1.0, -2.5, 65519.0, 1e300});
  const auto infinity = std::numeric_limits<float>::infinity();
  ExpectSame(ConvertArray(doubles, DType::kFloat, "x"), Floats({4}, {1.0f, -2.5f, 65519.0f, infinity}));
  // 65519 is nearer to 65504 than to what would follow it; 65519 in BF16 is 65536.
  ExpectSame(ConvertArray(doubles, DType::kFloat16, "x"),
             ArrayOf<uint16_t>(DType::kFloat16, {0x3c00, 0xc100, 0x7bff, 0x7c00}));
  ExpectSame(ConvertArray(doubles, DType::kBfloat16, "x"),
             ArrayOf<uint16_t>(DType::kBfloat16, {0x3f80, 0xc020, 0x4780, 0x7f80}));
}

TEST(ConvertArray, WidensSixteenBits) {
  ExpectSame(ConvertArray(ArrayOf<uint16_t>(DType::kFloat16, {0x3c00, 0x0001}), DType::kFloat, "x"),
             Floats({2}, {1.0f, 0x1p-24f}));
  ExpectSame(ConvertArray(ArrayOf<uint16_t>(DType::kBfloat16, {0x3f80, 0xff80}), DType::kFloat, "x"),
             Floats({2}, {1.0f, -std::numeric_limits<float>::infinity()}));
}

TEST(ConvertArray, IntegersMustFit) {
  const Array wide = ArrayOf<int64_t>(DType::kInt64, {-2147483648, 2147483647});
  const Array narrow = ArrayOf<int32_t>(DType::kInt32, {-2147483647 - 1, 2147483647});
  ExpectSame(ConvertArray(wide, DType::kInt32, "x"), narrow);
  ExpectSame(ConvertArray(narrow, DType::kInt64, "x"), wide);
  ExpectBad(
      [] {
        ConvertArray(ArrayOf<int64_t>(DType::kInt64, {0, 2147483648}), DType::kInt32, "x");
      },
      {"x", "element 1", "2147483648"});
}

TEST(ConvertArray, RefusesWhatIsAnotherKindOfNumber) {
  ExpectBad([] { ConvertArray(Floats({1}, {1}), DType::kInt64, "x"); },
            {"x is float32, where int64 is wanted"});
}

}  // namespace
}  // namespace halfsafe
