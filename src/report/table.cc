#include "report/table.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "base/display.h"

namespace halfsafe {
namespace {

/// What is between a heading's or a cell's beginning and the next one's.
constexpr size_t kGap = 2;
/// Names that are shortened to less say nothing.
constexpr size_t kNarrowest = 12;

using Rows = std::vector<std::vector<std::string>>;

/// Cells are one line each, whatever names hold.
Rows OneLineCells(Rows rows) {
  for (auto& row : rows) {
    for (std::string& cell : row) cell = OneLine(cell);
  }
  return rows;
}

std::vector<size_t> NaturalWidths(const Rows& rows) {
  std::vector<size_t> widths;
  for (const auto& row : rows) {
    widths.resize(std::max(widths.size(), row.size()));
    for (size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], DisplayWidth(row[i]));
  }
  return widths;
}

/// Takes columns from the widest of `names` until the table fits into `room`; whether it does.
bool Shrink(std::vector<size_t>* widths, const std::vector<size_t>& names, size_t room) {
  size_t total = std::accumulate(widths->begin(), widths->end(), kGap * widths->size());
  while (total > room) {
    size_t* widest = nullptr;
    for (const size_t name : names) {
      size_t& column = widths->at(name);
      if (column > kNarrowest && (widest == nullptr || column > *widest)) widest = &column;
    }
    if (widest == nullptr) return false;
    --*widest;
    --total;
  }
  return true;
}

std::string Paragraphs(const Rows& rows, size_t room) {
  std::string text;
  for (size_t r = 1; r < rows.size(); ++r) {
    for (size_t i = 0; i < rows[r].size(); ++i) {
      if (i > 0 && rows[r][i].empty()) continue;
      const bool bare = i == 0 || i >= rows[0].size() || rows[0][i].empty();
      const std::string indent(i == 0 ? 2 : 4, ' ');
      const std::string line = bare ? rows[r][i] : fmt::format("{}: {}", rows[0][i], rows[r][i]);
      for (const std::string& part : WrapText(line, room - indent.size())) text += indent + part + "\n";
    }
  }
  return text;
}

}  // namespace

std::string Number(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return "inf";
  return value != 0.0 && (std::fabs(value) < 1e-2 || std::fabs(value) >= 1e6) ? fmt::format("{:.2e}", value)
                                                                              : fmt::format("{:.4g}", value);
}

std::string Table(const Rows& given, int width, const std::vector<size_t>& names) {
  const Rows rows = OneLineCells(given);
  const size_t room = static_cast<size_t>(std::max(width, 20));
  std::vector<size_t> widths = NaturalWidths(rows);
  if (!Shrink(&widths, names, room)) return Paragraphs(rows, room);
  std::string text;
  for (const auto& row : rows) {
    std::string line;
    for (size_t i = 0; i < row.size(); ++i)
      line += std::string(kGap, ' ') + PadTo(FitMiddle(row[i], widths[i]), widths[i]);
    line.erase(line.find_last_not_of(' ') + 1);
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

std::string Caution(const std::string& text, bool color) {
  return color ? "\x1b[33m" + text + "\x1b[0m" : text;
}

}  // namespace halfsafe
