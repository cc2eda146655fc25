#include "model/op_traits.h"

#include <gtest/gtest.h>
#include <onnx/defs/schema.h>

namespace halfsafe {
namespace {

TEST(OpTraitsTest, TableIsSortedAndNamesRealOperators) {
  std::string_view previous;
  for (const OpTraits& row : OpTraitsTable()) {
    EXPECT_LT(previous, row.op_type);
    previous = row.op_type;
    EXPECT_NE(onnx::OpSchemaRegistry::Schema(std::string(row.op_type)), nullptr) << row.op_type;
  }
}

TEST(OpTraitsTest, OtherDomainsHaveNoRow) {
  onnx::NodeProto node;
  node.set_op_type("Reshape");
  EXPECT_EQ(TraitsOf(node).values, Values::kPermuted);
  node.set_domain("com.example");
  EXPECT_EQ(TraitsOf(node).values, Values::kNew);
}

}  // namespace
}  // namespace halfsafe
