#include "base/text.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <numeric>

namespace halfsafe {
namespace {

size_t EditDistance(std::string_view a, std::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), size_t{0});
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t replaced = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = row[j];
      row[j] = std::min({row[j] + 1, row[j - 1] + 1, replaced});
    }
  }
  return row[b.size()];
}

std::string Lower(std::string_view text) {
  std::string lower(text);
  std::transform(lower.begin(), lower.end(), lower.begin(),
                 [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; });
  return lower;
}

std::string ShortestAround(const std::string& part, std::span<const std::string> candidates) {
  std::string shortest;
  constexpr size_t kTooCommon = 3;  // Shorter parts are in too many names to mean one.
  if (part.size() < kTooCommon) return shortest;
  for (const std::string& candidate : candidates) {
    const bool better = shortest.empty() || candidate.size() < shortest.size();
    if (better && Lower(candidate).find(part) != std::string::npos) shortest = candidate;
  }
  return shortest;
}

}  // namespace

std::string Nearest(std::string_view word, std::span<const std::string> candidates) {
  std::string nearest;
  const std::string wanted = Lower(word);
  size_t best = std::max<size_t>(1, word.size() / 3) + 1;
  constexpr size_t kLongest = 256;  // Nobody mistypes longer names, and comparing them takes long.
  for (const std::string& candidate : candidates) {
    if (word.size() > kLongest || candidate.size() > kLongest) continue;
    const size_t distance = EditDistance(wanted, Lower(candidate));
    if (distance < best) {
      best = distance;
      nearest = candidate;
    }
  }
  return nearest.empty() ? ShortestAround(wanted, candidates) : nearest;
}

std::string DidYouMean(std::string_view word, std::span<const std::string> candidates) {
  const std::string nearest = Nearest(word, candidates);
  return nearest.empty() ? "" : fmt::format("; did you mean {}?", nearest);
}

std::string OpsetText(std::optional<int> opset) {
  return opset ? fmt::format("opset {}", *opset) : "its own opset";
}

std::string ByteText(uint64_t bytes) {
  const double value = static_cast<double>(bytes);
  if (bytes >= 1000000000) return fmt::format("{:.1f} GB", value / 1e9);
  if (bytes >= 1000000) return fmt::format("{:.1f} MB", value / 1e6);
  if (bytes >= 1000) return fmt::format("{:.1f} kB", value / 1e3);
  return fmt::format("{} bytes", bytes);
}

}  // namespace halfsafe
