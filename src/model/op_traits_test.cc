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
    if (row.op_type.find('.') == std::string_view::npos) {
      EXPECT_NE(onnx::OpSchemaRegistry::Schema(std::string(row.op_type)), nullptr) << row.op_type;
    }
  }
}

TEST(OpTraitsTest, OperatorsAreToldApartByTheirDomain) {
  onnx::NodeProto node;
  node.set_op_type("Reshape");
  EXPECT_EQ(TraitsOf(node).values, Values::kPermuted);
  node.set_domain("com.example");
  EXPECT_EQ(TraitsOf(node).values, Values::kNew);
  node.set_op_type("FusedConv");
  EXPECT_EQ(TraitsOf(node).products, Products::kNone);
  node.set_domain("com.microsoft");
  EXPECT_EQ(TraitsOf(node).products, Products::kConv);
}

}  // namespace
}  // namespace halfsafe
