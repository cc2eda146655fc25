#pragma once

#include <cstddef>

namespace halfsafe {

/// Whether the process may have `bytes` more of address space. Overcommitted memory, and a limit of a
/// container's, don't show.
bool HasRoomFor(size_t bytes);

/// Has the C library set aside what it gives the calling thread at its first allocation.
void TakeShareOfHeap();

}  // namespace halfsafe
