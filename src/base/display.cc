#include "base/display.h"

#include <utf8proc.h>

#include <algorithm>

namespace halfsafe {
namespace {

/// Stands for what is not shown as it is: U+FFFD, one column wide.
constexpr std::string_view kReplacement = "\xEF\xBF\xBD";

/// One character as a reader sees it: a code point with all that combines with it.
struct Cluster {
  size_t bytes = 0;
  size_t columns = 0;
};

/// The code point that `text` begins with, and its bytes; -1 and one byte where it is no UTF-8.
struct CodePoint {
  utf8proc_int32_t value = -1;
  size_t bytes = 1;
};

CodePoint FirstCodePoint(std::string_view text) {
  CodePoint point;
  const auto* data = reinterpret_cast<const utf8proc_uint8_t*>(text.data());
  const utf8proc_ssize_t read =
      utf8proc_iterate(data, static_cast<utf8proc_ssize_t>(text.size()), &point.value);
  if (read > 0) point.bytes = static_cast<size_t>(read);
  return point;
}

/// Whether a terminal would obey it rather than show it: control characters, and marks that turn the
/// direction of what follows, which could make a line read as another.
bool IsObeyed(utf8proc_int32_t value) {
  return value < 0x20 || (value >= 0x7F && value < 0xA0) || (value >= 0x202A && value <= 0x202E) ||
         (value >= 0x2066 && value <= 0x2069);
}

/// What is not shown as it is becomes U+FFFD, of one column (see Printable).
size_t ColumnsOf(const CodePoint& point) {
  return IsObeyed(point.value) ? 1 : static_cast<size_t>(std::max(0, utf8proc_charwidth(point.value)));
}

std::vector<Cluster> Clusters(std::string_view text) {
  std::vector<Cluster> clusters;
  utf8proc_int32_t state = 0, previous = -1;
  while (!text.empty()) {
    const CodePoint point = FirstCodePoint(text);
    const bool joins =
        previous >= 0 && point.value >= 0 && !utf8proc_grapheme_break_stateful(previous, point.value, &state);
    if (!joins) clusters.emplace_back();
    clusters.back().bytes += point.bytes;
    // Most terminals show the parts of a joined emoji one behind the other, so their widths add up.
    clusters.back().columns += ColumnsOf(point);
    previous = point.value;
    text.remove_prefix(point.bytes);
  }
  return clusters;
}

/// Bytes of as many whole characters from [begin, end) as `width` columns hold.
template <typename Iterator>
size_t BytesWithin(Iterator begin, Iterator end, size_t width) {
  size_t bytes = 0;
  for (size_t columns = 0; begin != end && columns + begin->columns <= width; ++begin) {
    bytes += begin->bytes;
    columns += begin->columns;
  }
  return bytes;
}

/// A word in pieces of at most `width` columns, but of at least one character each.
std::vector<std::string_view> Pieces(std::string_view word, size_t width) {
  std::vector<std::string_view> pieces;
  size_t begin = 0, end = 0, columns = 0;
  for (const Cluster& cluster : Clusters(word)) {
    if (end > begin && columns + cluster.columns > width) {
      pieces.push_back(word.substr(begin, end - begin));
      begin = end;
      columns = 0;
    }
    end += cluster.bytes;
    columns += cluster.columns;
  }
  pieces.push_back(word.substr(begin));
  return pieces;
}

/// Bytes of the colour that `text` begins with, one of those that this program writes; 0 where there is none.
/// Others could hide what follows.
size_t ColourLength(std::string_view text) {
  for (const std::string_view colour : {"\x1b[0m", "\x1b[31m", "\x1b[32m", "\x1b[33m"})
    if (text.starts_with(colour)) return colour.size();
  return 0;
}

}  // namespace

size_t DisplayWidth(std::string_view text) {
  size_t columns = 0;
  while (!text.empty()) {
    const CodePoint point = FirstCodePoint(text);
    columns += ColumnsOf(point);
    text.remove_prefix(point.bytes);
  }
  return columns;
}

std::string FitMiddle(std::string_view text, size_t width) {
  if (width < 8 || DisplayWidth(text) <= width) return std::string(text);
  const std::vector<Cluster> clusters = Clusters(text);
  const size_t tail = (width - 3) * 2 / 3;
  const size_t first = BytesWithin(clusters.begin(), clusters.end(), width - 3 - tail);
  const size_t last = BytesWithin(clusters.rbegin(), clusters.rend(), tail);
  std::string fitted(text.substr(0, first));
  fitted += "...";
  return fitted += text.substr(text.size() - last);
}

std::string PadTo(std::string_view text, size_t width) {
  return std::string(text) + std::string(width - std::min(width, DisplayWidth(text)), ' ');
}

std::vector<std::string> WrapText(std::string_view text, size_t width) {
  std::vector<std::string> lines(1);
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find(' ', begin), text.size());
    std::string_view word = text.substr(begin, end - begin);
    begin = end + 1;
    if (word.empty()) continue;
    if (!lines.back().empty() && DisplayWidth(lines.back()) + 1 + DisplayWidth(word) > width)
      lines.emplace_back();
    const std::vector<std::string_view> pieces = Pieces(word, width);
    for (size_t i = 0; i + 1 < pieces.size(); ++i) {
      lines.back() += pieces[i];
      lines.emplace_back();
    }
    word = pieces.back();
    if (!lines.back().empty()) lines.back() += ' ';
    lines.back() += word;
  }
  return lines;
}

std::string Printable(std::string_view text) {
  std::string clean;
  clean.reserve(text.size());
  while (!text.empty()) {
    size_t bytes = ColourLength(text);
    bool keep = bytes > 0;
    if (!keep) {
      const CodePoint point = FirstCodePoint(text);
      keep = point.value == '\n' || !IsObeyed(point.value);
      bytes = point.bytes;
    }
    clean += keep ? text.substr(0, bytes) : kReplacement;
    text.remove_prefix(bytes);
  }
  return clean;
}

std::string OneLine(std::string_view text) {
  std::string line(text);
  std::replace(line.begin(), line.end(), '\n', ' ');
  for (size_t at = 0; (at = line.find('\x1b', at)) != std::string::npos;) line.replace(at, 1, kReplacement);
  return Printable(line);
}

}  // namespace halfsafe
