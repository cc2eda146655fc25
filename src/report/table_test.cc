#include "report/table.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/display.h"

namespace halfsafe {
namespace {

const std::vector<std::vector<std::string>> kRowsOfNames = {
    {"tensor", "operator", "max |x|", "sample"},
    {"模型/编码器/第三层/注意力/输出🔥", "BatchNormalization", "1.02e+06", "samples/a-long-folder/0001.npz"},
    {"short", "Mul", "3", ""}};

size_t Widest(const std::string& text) {
  size_t widest = 0;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = text.find('\n', begin);
    widest = std::max(widest, DisplayWidth(text.substr(begin, end - begin)));
    begin = end + 1;
  }
  return widest;
}

TEST(TableTest, AlignsByWhatATerminalShows) {
  EXPECT_EQ(Table({{"name", "x"}, {"卷积", "1"}, {"abcdef", "2"}}, 80),
            "  name    x\n  卷积    1\n  abcdef  2\n");
}

TEST(TableTest, IsNeverWiderThanTheTerminal) {
  for (int width = 20; width < 120; ++width) {
    const std::string text = Table(kRowsOfNames, width, {0, 1, 3});
    EXPECT_LE(Widest(text), static_cast<size_t>(width)) << text;
    EXPECT_THAT(text, testing::HasSubstr("1.02e+06"));  // Numbers stay whole.
  }
}

TEST(TableTest, NamesAreWholeWhereThereIsRoom) {
  EXPECT_THAT(Table(kRowsOfNames, 120, {0, 1, 3}), testing::Not(testing::HasSubstr("...")));
}

TEST(TableTest, TheWidestNameGivesWayFirst) {
  const std::string text = Table({{"a", "b"}, {std::string(40, 'a'), std::string(20, 'b')}}, 50, {0, 1});
  EXPECT_THAT(text, testing::HasSubstr(std::string(20, 'b')));
}

TEST(TableTest, RowsBecomeParagraphsWhereNothingCanGiveWay) {
  EXPECT_EQ(
      Table({{"output", "error", ""}, {"y", "the shape is [1, 2, 3]", "NOT RIGHT"}, {"z", "0", "right"}}, 24),
      "  y\n    error: the shape is\n    [1, 2, 3]\n    NOT RIGHT\n  z\n    error: 0\n    right\n");
}

TEST(TableTest, ACellIsOneLine) {
  EXPECT_EQ(Table({{"name", "x"}, {"a\nb", "1"}}, 80), "  name  x\n  a b   1\n");
}

}  // namespace
}  // namespace halfsafe
