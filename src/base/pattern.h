#pragma once

#include <regex>
#include <string>
#include <string_view>

namespace halfsafe {

/// A regular expression that a user gave, for names from models.
class NamePattern {
 public:
  /// `option` is the one that gave it. Throws Error(kUsage) when it isn't a regular expression.
  NamePattern(std::string_view option, const std::string& pattern);

  /// Whether it matches a part of `name`. Throws BadInput for names so long that matching could exhaust the
  /// stack, unless the pattern matches everything.
  bool Matches(const std::string& name) const;

 private:
  std::string option_;
  bool everything_;
  std::regex regex_;
};

}  // namespace halfsafe
