#pragma once

#include <string>
#include <vector>

#include "halfsafe/check.h"

namespace halfsafe {

/// Rows that a table shows at most; the JSON has all.
constexpr size_t kRows = 10;

/// Four digits, or three and a power of ten.
std::string Number(double value);

/// Left-aligned columns under a heading, never wider than `width` columns of a terminal. Where there is
/// little room, the widest of the columns `names` give way first, shortened in their middle; the others,
/// numbers and words that must be read whole, never do. Where that is not enough, each row becomes a
/// paragraph with one line a cell.
std::string Table(const std::vector<std::vector<std::string>>& rows, int width,
                  const std::vector<size_t>& names = {0});

/// What a table says of an output: its problem, what differs, or its relative L2 error.
std::string ErrorCell(const OutputError& output);

/// A verdict in green or red, where the terminal takes colours.
std::string Verdict(const std::string& text, bool good, bool color);
/// What is neither good nor bad, in yellow where `color` is set.
std::string Caution(const std::string& text, bool color);

}  // namespace halfsafe
