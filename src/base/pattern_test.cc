#include "base/pattern.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "halfsafe/error.h"

namespace halfsafe {
namespace {

TEST(NamePattern, MatchesParts) {
  EXPECT_TRUE(NamePattern("--keep", "b.d").Matches("abcde"));
  EXPECT_FALSE(NamePattern("--keep", "^b").Matches("abcde"));
}

TEST(NamePattern, RefusesWhatIsNone) {
  try {
    const NamePattern pattern("--keep", "(");
    ADD_FAILURE() << "not refused";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kUsage);
    EXPECT_THAT(error.what(), testing::HasSubstr("--keep '(' is not a regular expression"));
  }
}

TEST(NamePattern, NamesOfAnyLength) {
  const std::string longest(2048, 'a'), name(1 << 20, 'a');
  EXPECT_TRUE(NamePattern("--keep", "(a|b)*c?$").Matches(longest));
  EXPECT_TRUE(NamePattern("--keep", ".*").Matches(name));
  try {
    NamePattern("--keep", "a*").Matches(name);
    ADD_FAILURE() << "not refused";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kBadInput);
    EXPECT_THAT(error.what(), testing::HasSubstr("--keep can't be held against a name of 1048576 bytes"));
  }
}

}  // namespace
}  // namespace halfsafe
