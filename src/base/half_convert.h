#pragma once

#include <cstddef>
#include <cstdint>

namespace halfsafe {

/// Arrays of FP32 values to binary16 bits and back, with the widest vectors of this machine; the same bits as
/// HalfBits and HalfValue, one by one.
void FloatsToHalf(const float* values, size_t count, uint16_t* bits);
void HalfToFloats(const uint16_t* bits, size_t count, float* values);

/// Rounds every value to binary16 and back (see RoundToHalf); `output` may be `values`. Returns whether all
/// results are finite.
bool RoundValuesToHalf(const float* values, size_t count, float* output);

/// Rounds every value to bfloat16 and back; `output` may be `values`. Returns whether all results are finite.
bool RoundValuesToBfloat16(const float* values, size_t count, float* output);

/// Moves every value by up to a quarter of the last place that binary16 (`half`) or bfloat16 has for it, by a
/// random number that depends on `stream` and on `first` + its position alone. Zero, infinities, NaN and
/// bfloat16's subnormal values stay. `output` may be `values`.
void DitherValues(const float* values, size_t count, bool half, uint32_t stream, uint32_t first,
                  float* output);

}  // namespace halfsafe
