#include "report/html_text.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

namespace halfsafe {
namespace {

/// The text with each byte that is no UTF-8 replaced.
std::string ValidUtf8(std::string_view text) {
  const bool ascii = std::all_of(text.begin(), text.end(), [](char c) { return (c & 0x80) == 0; });
  if (ascii) return std::string(text);
  const std::string quoted =
      nlohmann::json(text).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  return nlohmann::json::parse(quoted).get<std::string>();
}

}  // namespace

std::string EscapeHtml(std::string_view text) {
  std::string html;
  for (const char c : ValidUtf8(text)) {
    switch (c) {
      case '&':
        html += "&amp;";
        break;
      case '<':
        html += "&lt;";
        break;
      case '>':
        html += "&gt;";
        break;
      case '"':
        html += "&quot;";
        break;
      case '\'':
        html += "&#39;";
        break;
      case '\0':
        html += "\xEF\xBF\xBD";
        break;  // Browsers drop it.
      default:
        html += c;
    }
  }
  return html;
}

HtmlCell NumberCell(std::string text) { return {std::move(text), true}; }

std::string HtmlTable(std::string_view caption, const std::vector<std::string>& heads,
                      const std::vector<std::vector<HtmlCell>>& rows) {
  std::string html = "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"" +
                     EscapeHtml(caption) + "\"><table><caption>" + EscapeHtml(caption) +
                     "</caption><thead><tr>";
  for (const std::string& head : heads) html += "<th scope=\"col\">" + EscapeHtml(head) + "</th>";
  html += "</tr></thead><tbody>\n";
  for (const auto& row : rows) {
    html += "<tr>";
    for (size_t i = 0; i < row.size(); ++i) {
      const char* open = i == 0 ? "<th scope=\"row\">" : row[i].number ? "<td class=\"number\">" : "<td>";
      html += open + row[i].html + (i == 0 ? "</th>" : "</td>");
    }
    html += "</tr>\n";
  }
  return html + "</tbody></table></div>\n";
}

std::string Counted(size_t count, std::string_view what) {
  return fmt::format("{} {}{}", count, what, count == 1 ? "" : "s");
}

}  // namespace halfsafe
