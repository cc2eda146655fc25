#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "runtime/chain_kernel.h"

namespace halfsafe {

using Shape = std::vector<int64_t>;

size_t ElementCount(const Shape& shape);

/// The shape that numpy's broadcasting gives. Throws std::invalid_argument where there is none.
Shape Broadcast(const Shape& one, const Shape& other);

/// How a tensor lies under a result of a larger shape that it is broadcast to.
class Layout {
 public:
  Layout(const Shape& tensor, const Shape& result);

  /// Whether tensor and result have the same elements in the same order.
  bool same() const { return kind_ == Kind::kSame; }
  /// The tensor's values under elements `begin` to `begin + count` of the result; `buffer` has space for as
  /// many and is used where they don't lie in a row.
  OperandBlock Fetch(const float* values, size_t begin, size_t count, float* buffer) const;

 private:
  enum class Kind {
    kSame,
    kScalar,
    kPeriodic,  ///< Value `(i / inner_) % period_` under element i: one per channel, or per row.
    kStrided,   ///< Anything else.
  };
  void Repeat(const float* values, size_t begin, size_t count, float* buffer) const;
  void Gather(const float* values, size_t begin, size_t count, float* buffer) const;

  Kind kind_ = Kind::kSame;
  size_t period_ = 1, inner_ = 1;
  Shape dims_;                   ///< Of the result.
  std::vector<size_t> strides_;  ///< Of the tensor, per dimension of the result; 0 where it is broadcast.
};

}  // namespace halfsafe
