#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace halfsafe {

/// Text as HTML shows it, in elements and in quoted attributes. Bytes that are no UTF-8 become U+FFFD.
std::string EscapeHtml(std::string_view text);

/// A name of the model, or a path, in the font of code.
inline std::string CodeHtml(std::string_view text) { return "<code>" + EscapeHtml(text) + "</code>"; }

/// A cell of a table. `html` is taken as it is.
struct HtmlCell {
  std::string html;
  bool number = false;  ///< Set to the right.
};
inline HtmlCell TextCell(std::string_view text) { return {EscapeHtml(text)}; }
inline HtmlCell CodeCell(std::string_view text) { return {CodeHtml(text)}; }
HtmlCell NumberCell(std::string text);

/// A table whose first column names the rows. `caption` and `heads` are text.
std::string HtmlTable(std::string_view caption, const std::vector<std::string>& heads,
                      const std::vector<std::vector<HtmlCell>>& rows);

/// "1 node", "2 nodes".
std::string Counted(size_t count, std::string_view what);

/// Fills each %%halfsafe:NAME%% of `page` by what `text` returns for NAME.
template <typename Text>
std::string FillPlaces(std::string_view page, const Text& text) {
  constexpr std::string_view kOpen = "%%halfsafe:", kClose = "%%";
  std::string filled;
  for (size_t at = 0;;) {
    const size_t open = page.find(kOpen, at);
    filled += page.substr(at, open - at);
    if (open == std::string_view::npos) return filled;
    const size_t name = open + kOpen.size(), close = page.find(kClose, name);
    filled += text(page.substr(name, close - name));
    at = close + kClose.size();
  }
}

}  // namespace halfsafe
