#pragma once

#include <set>
#include <string>
#include <vector>

#include "halfsafe/progress.h"

namespace halfsafe {

/// Warnings of a build as they come: each is shown when it comes first, because builds take long, and all are
/// kept for the result. TensorRT says the same thing of every layer that it is true of.
class Warnings {
 public:
  explicit Warnings(Progress* progress) : progress_(progress) {}

  /// `source` is put in front of what is shown, not of what is kept.
  void Add(std::string warning, std::string_view source = "");
  const std::vector<std::string>& all() const { return all_; }

 private:
  Progress* progress_;
  std::vector<std::string> all_;
  std::set<std::string> shown_;
};

}  // namespace halfsafe
