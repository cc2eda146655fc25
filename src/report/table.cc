#include "report/table.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace halfsafe {
namespace {

/// Columns of a UTF-8 string, counting code points.
size_t Columns(std::string_view text) {
  return static_cast<size_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xC0) != 0x80; }));
}

}  // namespace

std::string Fit(const std::string& text, size_t width) {
  if (text.size() <= width || width < 8) return text;
  const size_t tail = (width - 3) * 2 / 3;
  return text.substr(0, width - 3 - tail) + "..." + text.substr(text.size() - tail);
}

std::string Number(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return "inf";
  return value != 0.0 && (std::fabs(value) < 1e-2 || std::fabs(value) >= 1e6) ? fmt::format("{:.2e}", value)
                                                                              : fmt::format("{:.4g}", value);
}

std::string Table(const std::vector<std::vector<std::string>>& rows, int width) {
  std::vector<size_t> widths;
  for (const auto& row : rows) {
    widths.resize(std::max(widths.size(), row.size()));
    for (size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], Columns(row[i]));
  }
  size_t others = 2;
  for (size_t i = 1; i < widths.size(); ++i) others += widths[i] + 2;
  const size_t room = static_cast<size_t>(std::max(width, 40));
  if (others + widths[0] > room) widths[0] = room > others + 12 ? room - others : 12;
  std::string text;
  for (const auto& row : rows) {
    std::string line = "  ";
    for (size_t i = 0; i < row.size(); ++i) {
      const std::string cell = i == 0 ? Fit(row[i], widths[0]) : row[i];
      line += cell;
      if (i + 1 < row.size()) line += std::string(widths[i] - std::min(widths[i], Columns(cell)) + 2, ' ');
    }
    text += line + "\n";
  }
  return text;
}

std::string ErrorCell(const OutputError& output) {
  if (!output.problem.empty()) return output.problem;
  if (!IsFloat(output.dtype)) return fmt::format("{} of {} differ", output.flips, output.count);
  if (output.new_nonfinite > 0) return fmt::format("{} not finite", output.new_nonfinite);
  return Number(output.rel_l2);
}

std::string Verdict(const std::string& text, bool good, bool color) {
  return color ? (good ? "\x1b[32m" : "\x1b[31m") + text + "\x1b[0m" : text;
}

}  // namespace halfsafe
