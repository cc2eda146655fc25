#pragma once

#include <nlohmann/json.hpp>

#include "halfsafe/ranges.h"

namespace halfsafe {

/// The members of a halfsafe-ranges file.
nlohmann::ordered_json RangesJson(const RangeTable& ranges);

}  // namespace halfsafe
