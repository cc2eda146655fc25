#include "runtime/broadcast.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cstring>
#include <stdexcept>

namespace halfsafe {

size_t ElementCount(const Shape& shape) {
  size_t count = 1;
  for (const int64_t dim : shape) count *= static_cast<size_t>(dim);
  return count;
}

Shape Broadcast(const Shape& one, const Shape& other) {
  const Shape& longer = one.size() >= other.size() ? one : other;
  const Shape& shorter = one.size() >= other.size() ? other : one;
  Shape result = longer;
  for (size_t i = 0; i < shorter.size(); ++i) {
    int64_t& dim = result[longer.size() - shorter.size() + i];
    if (dim == 1) {
      dim = shorter[i];
    } else if (shorter[i] != 1 && shorter[i] != dim) {
      throw std::invalid_argument(
          fmt::format("shapes {}x and {}x don't broadcast", fmt::join(one, "x"), fmt::join(other, "x")));
    }
  }
  return result;
}

Layout::Layout(const Shape& tensor, const Shape& result) : dims_(result) {
  const size_t rank = result.size();
  const size_t count = ElementCount(tensor);
  if (count == ElementCount(result)) return;
  if (count == 1) {
    kind_ = Kind::kScalar;
    return;
  }
  Shape padded(rank, 1);
  std::copy(tensor.begin(), tensor.end(), padded.end() - static_cast<std::ptrdiff_t>(tensor.size()));
  const auto wide = [](int64_t dim) { return dim != 1; };
  const size_t first = static_cast<size_t>(std::find_if(padded.begin(), padded.end(), wide) - padded.begin());
  const size_t end =
      rank - static_cast<size_t>(std::find_if(padded.rbegin(), padded.rend(), wide) - padded.rbegin());
  if (std::equal(padded.begin() + static_cast<std::ptrdiff_t>(first),
                 padded.begin() + static_cast<std::ptrdiff_t>(end),
                 result.begin() + static_cast<std::ptrdiff_t>(first))) {
    kind_ = Kind::kPeriodic;
    period_ = count;
    for (size_t i = end; i < rank; ++i) inner_ *= static_cast<size_t>(result[i]);
    return;
  }
  kind_ = Kind::kStrided;
  strides_.assign(rank, 0);
  size_t stride = 1;
  for (size_t i = rank; i-- > 0;) {
    if (padded[i] != 1) strides_[i] = stride;
    stride *= static_cast<size_t>(padded[i]);
  }
}

OperandBlock Layout::Fetch(const float* values, size_t begin, size_t count, float* buffer) const {
  if (kind_ == Kind::kSame) return {values + begin, false};
  if (kind_ == Kind::kScalar) return {values, true};
  if (kind_ == Kind::kStrided) {
    Gather(values, begin, count, buffer);
  } else if (begin / inner_ == (begin + count - 1) / inner_) {
    return {values + begin / inner_ % period_, true};
  } else {
    Repeat(values, begin, count, buffer);
  }
  return {buffer, false};
}

void Layout::Repeat(const float* values, size_t begin, size_t count, float* buffer) const {
  size_t index = begin / inner_ % period_;
  if (inner_ == 1) {
    while (count > 0) {
      const size_t run = std::min(count, period_ - index);
      std::memcpy(buffer, values + index, run * sizeof(float));
      buffer += run;
      count -= run;
      index = 0;
    }
    return;
  }
  size_t left = inner_ - begin % inner_;
  while (count > 0) {
    const size_t run = std::min(count, left);
    std::fill_n(buffer, run, values[index]);
    buffer += run;
    count -= run;
    left = inner_;
    index = index + 1 == period_ ? 0 : index + 1;
  }
}

void Layout::Gather(const float* values, size_t begin, size_t count, float* buffer) const {
  const size_t last = dims_.size() - 1, length = static_cast<size_t>(dims_[last]);
  Shape at(dims_.size());
  size_t offset = 0;
  for (size_t i = dims_.size(), rest = begin; i-- > 0;) {
    const size_t dim = static_cast<size_t>(dims_[i]);
    at[i] = static_cast<int64_t>(rest % dim);
    offset += rest % dim * strides_[i];
    rest /= dim;
  }
  // Row by row: in the last dimension the tensor's values lie side by side, or are a single one.
  while (count > 0) {
    const size_t run = std::min(count, length - static_cast<size_t>(at[last]));
    if (strides_[last] == 0) {
      std::fill_n(buffer, run, values[offset]);
    } else {
      std::memcpy(buffer, values + offset, run * sizeof(float));
    }
    buffer += run;
    count -= run;
    offset -= static_cast<size_t>(at[last]) * strides_[last];
    at[last] = 0;
    for (size_t i = last; i-- > 0;) {
      offset += strides_[i];
      if (++at[i] < dims_[i]) break;
      offset -= strides_[i] * static_cast<size_t>(dims_[i]);
      at[i] = 0;
    }
  }
}

}  // namespace halfsafe
