#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace halfsafe {

/// The candidate nearest to `word` by edit distance, upper and lower case aside, if near enough to be a slip;
/// else the shortest that contains it, as "attention/MatMul" is part of a node's name; empty otherwise.
std::string Nearest(std::string_view word, std::span<const std::string> candidates);

/// "; did you mean X?" for a near candidate, or nothing.
std::string DidYouMean(std::string_view word, std::span<const std::string> candidates);

/// "opset 22", or "its own opset" where no other was asked for.
std::string OpsetText(std::optional<int> opset);

/// "3.2 MB", "1.4 GB": decimal units.
std::string ByteText(uint64_t bytes);

}  // namespace halfsafe
