#pragma once

#include <string>
#include <vector>

#include "halfsafe/check.h"

namespace halfsafe {

/// Rows that a table shows at most; the JSON has all.
constexpr size_t kRows = 10;

/// Shortens a name in the middle: its end tells more than its beginning.
std::string Fit(const std::string& text, size_t width);

/// Four digits, or three and a power of ten.
std::string Number(double value);

/// Left-aligned columns under a heading; the first column gives way when the terminal is narrow.
std::string Table(const std::vector<std::vector<std::string>>& rows, int width);

/// What a table says of an output: its problem, what differs, or its relative L2 error.
std::string ErrorCell(const OutputError& output);

/// A verdict in green or red, where the terminal takes colours.
std::string Verdict(const std::string& text, bool good, bool color);

}  // namespace halfsafe
