#include "base/room.h"

#include <cstdlib>

namespace halfsafe {

bool HasRoomFor(size_t bytes) {
  void* volatile block = std::malloc(bytes);  // Volatile: compilers drop an allocation that nobody reads.
  std::free(block);
  return block != nullptr;
}

}  // namespace halfsafe
