#pragma once

#include <string>
#include <vector>

#include "report/report.h"

namespace halfsafe {

/// Why a fixed model that is right gains little over the original: less than half of its work is in 16 bits
/// or integers, its constants take more room, or it holds no 16-bit tensor. In sentences: the reasons, what
/// kind of model it is, what would help. Empty where it gains.
std::vector<std::string> LittleGained(const Model& original, const Model& fixed, const Report& report);

}  // namespace halfsafe
