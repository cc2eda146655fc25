#include <algorithm>

#include "base/display.h"
#include "fuzz/files.h"
#include "report/html_text.h"
#include "report/table.h"

namespace halfsafe::fuzz {

void ShowNames(Bytes bytes) {
  const std::string_view text = AsText(bytes);
  const auto control = [](char c) { return (c >= 0 && c < ' ') || c == '\x7f'; };
  const std::string line = OneLine(text);
  Require(std::none_of(line.begin(), line.end(), control), "a control character in a line");
  Require(OneLine(line) == line, "a line that changes once more");
  const std::string printable = Printable(text);
  Require(Printable(printable) == printable, "text that changes once more");
  for (const size_t width : {8, 20, 80}) {
    Require(DisplayWidth(FitMiddle(line, width)) <= width, "too wide");
    WrapText(line, width);
    PadTo(line, width);
    Table({{"name", "operator"}, {line, "Add"}}, static_cast<int>(width));
  }
  const std::string html = EscapeHtml(text);
  Require(html.find_first_of("<>\"'") == std::string::npos, "HTML that is not escaped");
}

}  // namespace halfsafe::fuzz
