#pragma once

#include <cstddef>

namespace halfsafe {

/// Rounds every value to binary16 and back (see RoundToHalf); `output` may be `values`. Returns whether all results are
/// finite. With the widest vectors of this machine, and one by one: the same bits.
bool RoundValuesToHalf(const float* values, size_t count, float* output);
bool RoundValuesToHalfScalar(const float* values, size_t count, float* output);

/// Rounds every value to bfloat16 and back; `output` may be `values`. Returns whether all results are finite.
bool RoundValuesToBfloat16(const float* values, size_t count, float* output);

}  // namespace halfsafe
