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

}  // namespace
}  // namespace halfsafe
