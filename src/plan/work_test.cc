#include "plan/work.h"

#include <gtest/gtest.h>

#include <string>

#include "halfsafe/halfsafe.h"
#include "model/test_support.h"

namespace halfsafe {
namespace {

/// Ranges of one sample that has so many elements of each tensor that no constant is.
RangeTable Counted(const Model& model, const std::vector<std::pair<std::string, uint64_t>>& elements) {
  RangeTable ranges = ScanConstants(model);
  ranges.samples = 1;
  for (const auto& [name, count] : elements) {
    TensorStats stats;
    stats.name = name;
    stats.count = count;
    ranges.tensors.push_back(stats);
  }
  return ranges;
}

Model ModelOf(const std::string& body, const std::string& domains = "") {
  return Loaded(ParsedProto("<ir_version: 10, opset_import: [\"\" : 23" + domains + "]> g " + body));
}

double Products(const Model& model, const std::vector<std::pair<std::string, uint64_t>>& elements) {
  return MultiplyAdds(model.index(), Counted(model, elements), model.index().node(0));
}

// What a direct loop multiplies: written out as its bounds.

TEST(Work, OfConvolutions) {
  const Model model = ModelOf(
      "(float[2, 6, 9, 9] x, float[8, 3, 3, 3] w) => (float[2, 8, 7, 7] y) { y = Conv<group = 2>(x, w) }");
  EXPECT_EQ(Products(model, {{"y", 2 * 8 * 7 * 7}}), 2.0 * 8 * 7 * 7 * 3 * 3 * 3);
  const Model integers = ModelOf(
      "(uint8[1, 4, 5, 5] x, uint8[6, 4, 3, 3] w) => (int32[1, 6, 3, 3] y) { y = ConvInteger(x, w) }");
  EXPECT_EQ(Products(integers, {}), 6.0 * 3 * 3 * 4 * 3 * 3);
}

TEST(Work, OfRecurrentNetworks) {
  // 5 steps of a batch of 2, forwards and backwards, four gates of 7 that read 3 inputs and 7 states.
  const Model model = ModelOf(
      "(float[5, 2, 3] x, float[2, 28, 3] w, float[2, 28, 7] r) => (float[5, 2, 2, 7] y) "
      "{ y = LSTM<hidden_size = 7, direction = \"bidirectional\">(x, w, r) }");
  EXPECT_EQ(Products(model, {{"x", 5 * 2 * 3}, {"w", 2 * 28 * 3}, {"r", 2 * 28 * 7}, {"y", 140}}),
            5.0 * 2 * 2 * 28 * (3 + 7));
}

TEST(Work, OfAttention) {
  // 2 samples, 3 heads, 4 queries against 6 keys of 8, and values of 5.
  const Model model = ModelOf(
      "(float[2, 3, 4, 8] q, float[2, 3, 6, 8] k, float[2, 3, 6, 5] v) => (float[2, 3, 4, 5] y) "
      "{ y = Attention(q, k, v) }");
  EXPECT_EQ(Products(model, {{"q", 2 * 3 * 4 * 8}, {"k", 2 * 3 * 6 * 8}, {"y", 2 * 3 * 4 * 5}}),
            2.0 * 3 * 4 * 6 * (8 + 5));
  const Model free = ModelOf(
      "(float[B, 3, S, 8] q, float[B, 3, T, 8] k, float[B, 3, T, 5] v) => (float[B, 3, S, 5] y) "
      "{ y = Attention(q, k, v) }");
  EXPECT_EQ(Products(free, {{"q", 3 * 4 * 8}, {"k", 3 * 6 * 8}, {"y", 3 * 4 * 5}}), 3.0 * 4 * 6 * (8 + 5));
}

TEST(Work, OfMatricesWhoseSizesAreFree) {
  // 3 heads of 4 x 6 times 6 x 5.
  const Model model =
      ModelOf("(float[1, 3, M, K] a, float[1, 3, K, N] b) => (float[1, 3, M, N] y) { y = MatMul(a, b) }");
  EXPECT_EQ(Products(model, {{"a", 3 * 4 * 6}, {"b", 3 * 6 * 5}, {"y", 3 * 4 * 5}}), 3.0 * 4 * 5 * 6);
}

TEST(Work, OfSumsOverLetters) {
  const Model model = ModelOf(
      "(float[2, 3, 4] a, float[2, 4, 5] b) => (float[2, 3, 5] y) "
      "{ y = Einsum<equation = \"bij, bjk -> bik\">(a, b) }");
  EXPECT_EQ(Products(model, {{"y", 2 * 3 * 5}}), 2.0 * 3 * 5 * 4);
}

TEST(Work, OfOnnxRuntimesOperators) {
  const Model model = ModelOf(
      "(float[2, 64] a, uint8[32, 2, 16] b, float[64] s) => (float[2, 32] y) "
      "{ y = com.microsoft.MatMulNBits<K = 64, N = 32, bits = 4, block_size = 32>(a, b, s) }",
      ", \"com.microsoft\" : 1");
  EXPECT_EQ(Products(model, {{"a", 2 * 64}, {"y", 2 * 32}}), 2.0 * 32 * 64);
}

TEST(Work, ShareNamesWhatItCannotCount) {
  const Model model = ModelOf(
      "(float[4, 4] x, float[4, 4] w) => (float[4, 4] y) "
      "{ m = MatMul(x, w) \n y = test.Mystery(m) }",
      ", \"test\" : 1");
  Plan plan;
  plan.nodes = {{"m", Precision::kFp16, "safe", ""}};
  const WorkShare share = ShareInHalf(model, Counted(model, {{"x", 16}, {"m", 16}, {"y", 16}}), plan);
  EXPECT_TRUE(share.products);
  EXPECT_EQ(share.share, 1.0);
  EXPECT_EQ(share.uncounted, std::vector<std::string>{"Mystery"});
}

TEST(Work, IsOfBytesWhereNothingIsMultiplied) {
  const Model model = ModelOf("(float[8] x) => (float[8] y) { a = Exp(x) \n y = Abs(a) }");
  Plan plan;
  plan.nodes = {{"a", Precision::kFp16, "safe", ""}, {"y", Precision::kFp32, "user", ""}};
  const WorkShare share = ShareInHalf(model, Counted(model, {{"x", 8}, {"a", 8}, {"y", 8}}), plan);
  EXPECT_FALSE(share.products);
  EXPECT_EQ(share.share, 0.5);
}

}  // namespace
}  // namespace halfsafe
