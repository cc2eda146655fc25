#include "base/room.h"

#include <sys/mman.h>

#include <cstdlib>

namespace halfsafe {

// Not by malloc, which changes how it goes about blocks of a size that it has seen freed.
bool HasRoomFor(size_t bytes) {
  void* const block = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (block == MAP_FAILED) return false;
  munmap(block, bytes);
  return true;
}

void TakeShareOfHeap() {
  void* volatile block = std::malloc(1);  // Volatile: compilers drop an allocation that nobody reads.
  std::free(block);
}

}  // namespace halfsafe
