#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace halfsafe {

struct FlowEdge {
  size_t from = 0, to = 0;
  int64_t capacity = 0;
};

/// A directed network with capacities whose minimum cut is wanted.
class FlowNetwork {
 public:
  explicit FlowNetwork(size_t vertices) : vertices_(vertices) {}

  size_t AddVertex() { return vertices_++; }

  /// Cutting `from` (source side) from `to` (sink side) costs `capacity`.
  void Connect(size_t from, size_t to, int64_t capacity) {
    if (from != to && capacity != 0) edges_.push_back({from, to, capacity});
  }

  /// Per vertex, whether it is on the source's side of the minimum cut with the smallest source side.
  std::vector<bool> SourceSide(size_t source, size_t sink) const;

 private:
  size_t vertices_;
  std::vector<FlowEdge> edges_;
};

}  // namespace halfsafe
