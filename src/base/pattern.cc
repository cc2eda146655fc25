#include "base/pattern.h"

#include <fmt/format.h>

#include "halfsafe/error.h"

namespace halfsafe {
namespace {

std::regex Compiled(std::string_view option, const std::string& pattern) {
  try {
    return std::regex(pattern);
  } catch (const std::regex_error& error) {
    throw BadUsage(fmt::format("{} '{}' is not a regular expression: {}", option, pattern, error.what()));
  }
}

}  // namespace

NamePattern::NamePattern(std::string_view option, const std::string& pattern)
    : option_(option), everything_(pattern == ".*"), regex_(Compiled(option, pattern)) {}

bool NamePattern::Matches(const std::string& name) const {
  // The standard library recurses for every character. Models have names of some hundred at most.
  constexpr size_t kLongest = 2048;
  if (everything_) return true;
  if (name.size() > kLongest) {
    throw BadInput(fmt::format("{} can't be held against a name of {} bytes, only of {} at most: {}...",
                               option_, name.size(), kLongest, name.substr(0, 80)));
  }
  return std::regex_search(name, regex_);
}

}  // namespace halfsafe
