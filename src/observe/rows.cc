#include "observe/rows.h"

#include <algorithm>
#include <cmath>

namespace halfsafe {

Rows RowsAlong(const RowAxis& rows, const std::vector<int64_t>& shape) {
  const int64_t rank = static_cast<int64_t>(shape.size());
  const int64_t axis = rows.axis < 0 ? rows.axis + rank : rows.axis;
  Rows result;
  for (int64_t i = 0; i < rank; ++i) {
    const int64_t dim = shape[static_cast<size_t>(i)];
    if (i < axis) {
      result.outer *= dim;
    } else if (i == axis || rows.to_the_end) {
      result.length *= dim;
    } else {
      result.inner *= dim;
    }
  }
  return result;
}

double SmallestRowMax(const float* values, const Rows& rows) {
  double smallest = INFINITY;
  for (int64_t o = 0; o < rows.outer; ++o) {
    for (int64_t i = 0; i < rows.inner; ++i) {
      const float* row = values + o * rows.length * rows.inner + i;
      float largest = -INFINITY;
      for (int64_t k = 0; k < rows.length; ++k) largest = std::max(largest, row[k * rows.inner]);
      smallest = std::min<double>(smallest, largest);
    }
  }
  return smallest;
}

}  // namespace halfsafe
