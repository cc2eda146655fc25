#pragma once

#include <cstddef>
#include <vector>

namespace halfsafe {

/// What Minimize asks of the set that it makes smaller.
class Trial {
 public:
  virtual ~Trial() = default;
  /// Whether these elements do without the others.
  virtual bool Enough(const std::vector<size_t>& elements) = 0;
  /// The sets that will be asked for next if the answers are no, the first one now.
  virtual void Expect(const std::vector<std::vector<size_t>>& /*next*/) {}
  /// Whether there is time for another question.
  virtual bool MayGoOn() = 0;
};

struct Minimum {
  std::vector<size_t> left;
  bool minimal = false;  ///< Without any one of these the rest is not enough: each was tried.
};

/// Leaves elements out of `left` as long as the rest is enough: `chunk` of them at a time, then half as many,
/// and so on to single ones, which go round until none can be left out.
Minimum Minimize(std::vector<size_t> left, size_t chunk, Trial* trial);

}  // namespace halfsafe
