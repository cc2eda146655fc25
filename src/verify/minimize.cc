#include "verify/minimize.h"

#include <algorithm>

namespace halfsafe {
namespace {

std::vector<size_t> AllBut(const std::vector<size_t>& elements, size_t begin, size_t count) {
  std::vector<size_t> fewer = elements;
  const auto first = fewer.begin() + static_cast<std::ptrdiff_t>(std::min(begin, fewer.size()));
  fewer.erase(first, first + std::min(static_cast<std::ptrdiff_t>(count), fewer.end() - first));
  return fewer;
}

}  // namespace

Minimum Minimize(std::vector<size_t> left, size_t chunk, Trial* trial) {
  for (size_t size = std::max<size_t>(chunk, 1);; size = std::max<size_t>(size / 2, 1)) {
    bool any = false;
    for (size_t begin = 0; begin < left.size();) {
      if (!trial->MayGoOn()) return {std::move(left), false};
      std::vector<size_t> fewer = AllBut(left, begin, size);
      trial->Expect({fewer, AllBut(left, begin + size, size), AllBut(left, begin + 2 * size, size)});
      if (trial->Enough(fewer)) {
        left = std::move(fewer);
        any = true;
      } else {
        begin += size;
      }
    }
    if (size == 1 && !any) return {std::move(left), true};
  }
}

}  // namespace halfsafe
