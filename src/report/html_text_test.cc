#include "report/html_text.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace halfsafe {
namespace {

TEST(HtmlTextTest, WhatHtmlReadsAsItsOwnIsEscaped) {
  EXPECT_EQ(EscapeHtml("</td><!-- a&b \"c\" 'd'"), "&lt;/td&gt;&lt;!-- a&amp;b &quot;c&quot; &#39;d&#39;");
  EXPECT_EQ(EscapeHtml("Größe"), "Größe");
}

TEST(HtmlTextTest, BytesThatAreNoTextAreReplaced) {
  EXPECT_EQ(EscapeHtml("a\xFFz"), "a\xEF\xBF\xBDz");
  EXPECT_EQ(EscapeHtml(std::string_view("a\0z", 3)), "a\xEF\xBF\xBDz");
}

TEST(HtmlTextTest, TablesNameTheirRows) {
  const std::string table =
      HtmlTable("All <of> them", {"name", "size"}, {{TextCell("<a>"), NumberCell("7")}});
  EXPECT_THAT(table, testing::HasSubstr("<caption>All &lt;of&gt; them</caption>"));
  EXPECT_THAT(table, testing::HasSubstr("<th scope=\"row\">&lt;a&gt;</th><td class=\"number\">7</td>"));
}

TEST(HtmlTextTest, PlacesAreFilledOnce) {
  const auto fill = [](std::string_view name) { return std::string(name) + "%%halfsafe:b%%"; };
  EXPECT_EQ(FillPlaces("1 %%halfsafe:a%% 2 %% %%halfsafe:b%%", fill),
            "1 a%%halfsafe:b%% 2 %% b%%halfsafe:b%%");
  EXPECT_EQ(FillPlaces("", fill), "");
}

}  // namespace
}  // namespace halfsafe
