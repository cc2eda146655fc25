#pragma once

#include <string>
#include <vector>

#include "halfsafe/model.h"
#include "halfsafe/ranges.h"

namespace halfsafe {

/// What the export to 16 bits left in the file behind a lifted model that no plan can make good, in
/// sentences: weights that became infinite or stopped at 65504, epsilons that became zero, clamps at FP16's
/// limits. Empty for models that weren't lifted. `constants` has at least the ranges of the constants.
std::vector<std::string> Leftovers(const Model& lifted, const RangeTable& constants);

}  // namespace halfsafe
