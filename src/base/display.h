#pragma once

#include <fmt/format.h>

#include <cstddef>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace halfsafe {

/// Columns that a terminal shows UTF-8 text in: wide characters (Chinese, emoji) take two, combining marks
/// none. Bytes that are no UTF-8 take one each.
size_t DisplayWidth(std::string_view text);

/// Shortens text to `width` columns, with "..." in the middle: the end of a name tells more than its
/// beginning. Characters stay whole. Text that fits, or a width below 8, is left alone.
std::string FitMiddle(std::string_view text, size_t width);

/// The text and spaces behind it, `width` columns in all.
std::string PadTo(std::string_view text, size_t width);

/// Text in lines of at most `width` columns, broken at spaces; a word that is longer is cut.
std::vector<std::string> WrapText(std::string_view text, size_t width);

/// The text with what a terminal would obey taken out: a model's names may hold anything. Line ends and
/// the colours that this program writes stay; other control characters, and bytes that are no UTF-8, become
/// U+FFFD.
std::string Printable(std::string_view text);

/// The same in one line without colours, so that a name can pass for nothing else.
std::string OneLine(std::string_view text);

/// A line with names in it, as OneLine has it, and its end.
template <typename... Values>
std::string Line(fmt::format_string<Values...> format, Values&&... values) {
  return OneLine(fmt::format(format, std::forward<Values>(values)...)) + "\n";
}

}  // namespace halfsafe
