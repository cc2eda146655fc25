#pragma once

#include <algorithm>
#include <cstddef>
#include <vector>

namespace halfsafe {

/// Elements 0, 1, ... in sets that are joined and never taken apart. The first element of a set stands for
/// it, so that what is done set by set is done in the order of the elements.
class DisjointSets {
 public:
  explicit DisjointSets(size_t size = 0) {
    for (size_t i = 0; i < size; ++i) Add();
  }

  /// The new element, which is a set of its own.
  size_t Add() {
    parent_.push_back(parent_.size());
    return parent_.back();
  }
  size_t First(size_t element) const {
    while (parent_[element] != element) element = parent_[element] = parent_[parent_[element]];
    return element;
  }
  void Join(size_t a, size_t b) { parent_[std::max(First(a), First(b))] = std::min(First(a), First(b)); }

 private:
  mutable std::vector<size_t> parent_;  ///< Paths become shorter as they are walked.
};

}  // namespace halfsafe
