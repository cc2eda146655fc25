#pragma once

#include <string>

#include "halfsafe/diff.h"

namespace halfsafe {

/// The difference as tables for a terminal of `width` columns; `color` marks the verdict, never alone.
std::string ToText(const RangesDiff& diff, int width, bool color);

}  // namespace halfsafe
