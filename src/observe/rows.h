#pragma once

#include <cstdint>
#include <vector>

namespace halfsafe {

/// Which axis of a Softmax input its rows run along. Before opset 13 a row spans all axes from `axis` on.
struct RowAxis {
  int64_t axis = -1;
  bool to_the_end = false;
};

/// How the rows of one tensor lie in memory: value k of row (o, i) is at o * length * inner + k * inner + i.
struct Rows {
  int64_t outer = 1;
  int64_t length = 1;
  int64_t inner = 1;
};

Rows RowsAlong(const RowAxis& axis, const std::vector<int64_t>& shape);

/// The smallest over all rows of the largest value in the row; NaN doesn't count.
double SmallestRowMax(const float* values, const Rows& rows);

}  // namespace halfsafe
