#include "observe/rows.h"

#include <algorithm>
#include <array>
#include <cmath>

namespace halfsafe {

namespace {

/// The largest of `count` values, `stride` apart. NaN counts for nothing.
float LargestOf(const float* values, int64_t count, int64_t stride) {
  constexpr int64_t kLanes = 8;  // Comparisons that don't wait for each other.
  std::array<float, kLanes> largest;
  largest.fill(-INFINITY);
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    for (int64_t lane = 0; lane < kLanes; ++lane) {
      float& most = largest[static_cast<size_t>(lane)];
      most = std::max(most, values[(i + lane) * stride]);
    }
  }
  for (; i < count; ++i) largest[0] = std::max(largest[0], values[i * stride]);
  return *std::max_element(largest.begin(), largest.end());
}

}  // namespace

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
      smallest = std::min<double>(smallest, LargestOf(row, rows.length, rows.inner));
    }
  }
  return smallest;
}

}  // namespace halfsafe
