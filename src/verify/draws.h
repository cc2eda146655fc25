#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "halfsafe/sample.h"

namespace halfsafe {

/// How many roundings a sample runs under at most. The first one is to the nearest, as the emulation is
/// otherwise; in the others every value is moved before that by up to a quarter of its last place, as another
/// order of sums or a fused kernel may move it.
inline constexpr size_t kMostDraws = 8;

/// The number that counts of the distances of one sample.
double RootMeanSquare(std::span<const double> distances);

/// Whether these distances from FP32, of one sample under one rounding after the other, show that the root
/// mean square of all is past `aim`: by `sure` standard errors, or at once by three times.
bool SurelyBeyond(std::span<const double> distances, double aim, double sure);
/// Whether all draws are there and their root mean square is within `aim` by `sure` standard errors. A few
/// that lie close together by chance show nothing: the next may be on the other side of a near tie.
bool SurelyWithin(std::span<const double> distances, double aim, double sure);
/// Whether it takes another draw to say on which side of the tolerance, 1, they are. A first distance of up
/// to a third needs none.
bool NeedsAnother(std::span<const double> distances, double sure);

/// A stream of random numbers for one tensor in one draw.
uint32_t DitherStream(uint64_t seed, size_t draw, int64_t tensor);

/// Moves values [begin, begin + count) of a tensor by up to a quarter of the last place that `dtype`, FP16 or
/// BF16, has for them, each by its own random number of `stream`: the same whatever order they come in. What
/// `dtype` holds exactly rounds to itself still. `output` may be `values`.
void Dither(const float* values, size_t begin, size_t count, DType dtype, uint32_t stream, float* output);

}  // namespace halfsafe
