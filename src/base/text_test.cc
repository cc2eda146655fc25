#include "base/text.h"

#include <gtest/gtest.h>

namespace halfsafe {
namespace {

TEST(TextTest, SuggestsNearNamesOnly) {
  const std::vector<std::string> commands = {"scan", "plan", "apply"};
  EXPECT_EQ(Nearest("scna", commands), "");  // Two edits in four letters is no slip.
  EXPECT_EQ(Nearest("scam", commands), "scan");
  EXPECT_EQ(DidYouMean("aply", commands), "; did you mean apply?");
  EXPECT_EQ(DidYouMean("xyzxyz", commands), "");
}

TEST(TextTest, SuggestsNamesThatAreMoreThanWhatWasGiven) {
  const std::vector<std::string> nodes = {"/model/layer.10/attention/MatMul",
                                          "/model/layer.1/attention/MatMul", "/model/Softmax"};
  EXPECT_EQ(Nearest("attention/matmul", nodes), "/model/layer.1/attention/MatMul");
  EXPECT_EQ(Nearest("SOFTMAX", nodes), "/model/Softmax");
  EXPECT_EQ(Nearest("el", nodes), "");
}

TEST(TextTest, CaseIsNoDifference) {
  EXPECT_EQ(Nearest("softmax", std::vector<std::string>{"Conv", "Softmax"}), "Softmax");
}

}  // namespace
}  // namespace halfsafe
