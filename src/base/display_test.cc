#include "base/display.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace halfsafe {
namespace {

using testing::ElementsAre;

TEST(DisplayWidthTest, CountsColumnsRatherThanBytes) {
  EXPECT_EQ(DisplayWidth(""), 0u);
  EXPECT_EQ(DisplayWidth("conv/Mul:0"), 10u);
  EXPECT_EQ(DisplayWidth("卷积/输出"), 9u);
  EXPECT_EQ(DisplayWidth("ﾃﾝｿﾙ"), 4u);            // Half-width forms.
  EXPECT_EQ(DisplayWidth("e\u0301t\u00e9"), 3u);  // A combining accent, and a letter that has one.
  EXPECT_EQ(DisplayWidth("🔥"), 2u);
  EXPECT_EQ(DisplayWidth("a\xff\xfe"), 3u);
}

TEST(FitMiddleTest, KeepsTheEnd) {
  EXPECT_EQ(FitMiddle("/model/layer.3/attention/MatMul", 18), "/mode...ion/MatMul");
  EXPECT_EQ(FitMiddle("short", 18), "short");
}

TEST(FitMiddleTest, NeverCutsACharacter) {
  const std::string names[] = {
      "模型/编码器/第三层/注意力/矩阵乘法/输出", "🔥🧠🔥🧠🔥🧠🔥🧠🔥🧠",
      "e\u0301e\u0301e\u0301e\u0301e\u0301e\u0301e\u0301e\u0301e\u0301e\u0301e\u0301"};
  for (const std::string& name : names) {
    for (size_t width = 8; width < 30; ++width) {
      const std::string fitted = FitMiddle(name, width);
      EXPECT_LE(DisplayWidth(fitted), width) << fitted;
      EXPECT_EQ(Printable(fitted), fitted);  // Still UTF-8.
      EXPECT_FALSE(fitted.find("...\u0301") != std::string::npos) << "an accent without its letter";
    }
  }
}

TEST(PadToTest, FillsColumns) {
  EXPECT_EQ(PadTo("卷", 4), "卷  ");
  EXPECT_EQ(PadTo("long", 2), "long");
}

TEST(WrapTextTest, BreaksAtSpaces) {
  EXPECT_THAT(WrapText("one two three", 7), ElementsAre("one two", "three"));
  EXPECT_THAT(WrapText("", 7), ElementsAre(""));
  EXPECT_THAT(WrapText("a 卷积卷积 b", 5), ElementsAre("a", "卷积", "卷积", "b"));
  EXPECT_THAT(WrapText("卷", 1), ElementsAre("卷"));
}

TEST(PrintableTest, TakesOutWhatTerminalsObey) {
  EXPECT_EQ(Printable("plain\n"), "plain\n");
  EXPECT_EQ(Printable("\x1b[31mNOT RIGHT\x1b[0m"), "\x1b[31mNOT RIGHT\x1b[0m");
  EXPECT_EQ(Printable("\x1b]0;title\x07"), "\uFFFD]0;title\uFFFD");
  EXPECT_EQ(Printable("\x1b[2J"), "\uFFFD[2J");
  EXPECT_EQ(Printable("\x1b[8mhidden"), "\uFFFD[8mhidden");  // None of this program's colours.
  EXPECT_EQ(Printable("a\rb\tc"), "a\uFFFDb\uFFFDc");
  EXPECT_EQ(Printable("\u009b2J"), "\uFFFD2J");  // The same in one character.
  EXPECT_EQ(Printable("x\u202ey"), "x\uFFFDy");
  EXPECT_EQ(Printable("\xff\xc3"), "\uFFFD\uFFFD");
  EXPECT_EQ(Printable("卷积"), "卷积");
}

TEST(OneLineTest, LeavesNamesNothingToPassFor) {
  EXPECT_EQ(OneLine("a\nRIGHT"), "a RIGHT");
  EXPECT_EQ(OneLine("\x1b[32mRIGHT\x1b[0m"), "\uFFFD[32mRIGHT\uFFFD[0m");
  EXPECT_EQ(OneLine("卷积\xff"), "卷积\uFFFD");
  EXPECT_EQ(Line("{} of {}", "x\n", 2), "x  of 2\n");
}

}  // namespace
}  // namespace halfsafe
