#pragma once

#include <cstddef>

namespace halfsafe {

/// Whether `bytes` could be allocated now. What the C library sets aside for the calling thread's first
/// allocation is there afterwards.
bool HasRoomFor(size_t bytes);

}  // namespace halfsafe
