#include "model/infer_types.h"

#include <fmt/format.h>

#include "model/graph_index.h"
#include "model/test_support.h"

namespace halfsafe {
namespace {

const TensorInfo& Find(const Model& model, const std::string& name) {
  return model.index().tensor(model.index().FindTensor(name));
}

TEST(InferTypes, FollowsShapesThroughComputations) {
  const Model model = Loaded(ParsedProto(R"(<ir_version: 8, opset_import: ["" : 17]>
    g (float[2, 3] x) => (float[N, M] y) <int64[1] two = {2}> {
      s = Shape(x)
      z = Concat<axis = 0>(two, s)
      y = Reshape(x, s)
      t = Expand(x, z)
    })"));
  EXPECT_EQ(Find(model, "y").shape, (std::vector<int64_t>{2, 3}));
  EXPECT_EQ(Find(model, "t").shape, (std::vector<int64_t>{2, 2, 3}));
}

TEST(InferTypes, AnOperandOfUnknownType) {
  const Model model = Loaded(ParsedProto(R"(<ir_version: 8, opset_import: ["" : 17, "other" : 1]>
    g (float[2, 2] x) => (float[2, 2] y) {
      u = other.Unknown(x)
      e = EyeLike<dtype = 1>(u)
      y = Add(x, e)
    })"));
  EXPECT_FALSE(Find(model, "e").has_rank);
  EXPECT_EQ(Find(model, "y").dtype, DType::kFloat);
}

TEST(InferTypes, AShapeOfAnyLengthHasNoDimensions) {
  const Model model = Loaded(ParsedProto(R"(<ir_version: 8, opset_import: ["" : 17]>
    g (float[2] x, int64[1099511627776] s) => (float[N] y) {
      r = Reshape(x, s)
      c = ConstantOfShape(s)
      e = Expand(x, s)
      y = Identity(r)
    })"));
  for (const char* name : {"r", "c", "e"}) {
    EXPECT_FALSE(Find(model, name).has_rank) << name;
    EXPECT_EQ(Find(model, name).dtype, DType::kFloat) << name;
  }
}

TEST(InferTypes, ShapesThatDoubleEndWhereNobodyHasThem) {
  std::string text =
      R"(<ir_version: 8, opset_import: ["" : 17]> g (float[1, 1] x) => (float[N] y) { s0 = Shape(x) )";
  for (int i = 0; i < 50; ++i) text += fmt::format("s{} = Concat<axis = 0>(s{}, s{}) ", i + 1, i, i);
  const Model model = Loaded(ParsedProto(text + "y = Reshape(x, s50) }"));
  EXPECT_EQ(Find(model, "s50").dtype, DType::kInt64);
  EXPECT_EQ(Find(model, "y").dtype, DType::kFloat);
}

TEST(InferTypes, RanksThatDoubleEndToo) {
  std::string text = R"(<ir_version: 8, opset_import: ["" : 17]> g (int64[1, 1] r0) => (int64[N] y) { )";
  for (int i = 0; i < 50; ++i) text += fmt::format("r{} = Gather<axis = 0>(r{}, r{}) ", i + 1, i, i);
  const Model model = Loaded(ParsedProto(text + "y = Identity(r50) }"));
  EXPECT_EQ(Find(model, "r5").shape.size(), 33);
  EXPECT_FALSE(Find(model, "r50").has_rank);
  EXPECT_EQ(Find(model, "r50").dtype, DType::kInt64);
}

}  // namespace
}  // namespace halfsafe
