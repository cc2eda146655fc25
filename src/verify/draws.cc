#include "verify/draws.h"

#include <algorithm>
#include <bit>
#include <cmath>

namespace halfsafe {
namespace {

/// Distances that are this many times past the aim, or as far within it, need no second rounding.
constexpr double kClear = 3.0;
constexpr size_t kFewestDraws = 3;
/// What few draws may show of their spread by chance is no less than this.
constexpr double kLeastMargin = 0.05;

/// murmur3's finalizer: every bit of the result depends on every bit of `x`.
constexpr uint32_t Mixed(uint32_t x) {
  x ^= x >> 16;
  x *= 0x85EBCA6BU;
  x ^= x >> 13;
  x *= 0xC2B2AE35U;
  return x ^ (x >> 16);
}

/// How far the mean square of the distances is past that of the aim, which is 1.
double Excess(std::span<const double> distances, double aim) {
  return std::pow(RootMeanSquare(distances) / aim, 2) - 1.0;
}

/// What the excess may be by chance.
double Margin(std::span<const double> distances, double aim, double sure) {
  const double mean = Excess(distances, aim) + 1.0;
  double variance = 0.0;
  for (const double distance : distances) variance += std::pow(distance * distance / (aim * aim) - mean, 2);
  const auto count = static_cast<double>(distances.size());
  return std::max(sure * std::sqrt(variance / (count - 1.0) / count), kLeastMargin);
}

}  // namespace

double RootMeanSquare(std::span<const double> distances) {
  if (distances.size() == 1) return distances.front();
  double squares = 0.0;
  for (const double distance : distances) squares += distance * distance;
  return std::sqrt(squares / static_cast<double>(distances.size()));
}

bool SurelyBeyond(std::span<const double> distances, double aim, double sure) {
  if (!std::isfinite(RootMeanSquare(distances))) return true;
  if (distances.size() < kFewestDraws) return distances.size() == 1 && distances.front() >= kClear * aim;
  return Excess(distances, aim) >= Margin(distances, aim, sure);
}

bool SurelyWithin(std::span<const double> distances, double aim, double sure) {
  return distances.size() >= kMostDraws && Excess(distances, aim) <= -Margin(distances, aim, sure);
}

bool NeedsAnother(std::span<const double> distances, double sure) {
  if (distances.size() >= kMostDraws || SurelyBeyond(distances, 1.0, sure)) return false;
  return distances.size() > 1 || distances.front() > 1.0 / kClear;
}

uint32_t DitherStream(uint64_t seed, size_t draw, int64_t tensor) {
  uint32_t stream = Mixed(static_cast<uint32_t>(seed) + 0x9E3779B9U);
  for (const uint64_t part : {seed >> 32, static_cast<uint64_t>(draw), static_cast<uint64_t>(tensor)})
    stream = Mixed(stream ^ (static_cast<uint32_t>(part) + 0x9E3779B9U));
  return stream;
}

void Dither(const float* values, size_t begin, size_t count, DType dtype, uint32_t stream, float* output) {
  const bool half = dtype == DType::kFloat16;
  // Bits of an FP32 mantissa that the type drops, less two: a quarter of a last place.
  const uint32_t dropped = half ? 13 : 16;
  const uint32_t range = 1U << (dropped - 1);
  constexpr uint32_t kMagnitude = 0x7FFFFFFFU, kInfinity = 0x7F800000U;
  // Below, the last place of FP16 stays what it is: 2^-24.
  const uint32_t normal = half ? std::bit_cast<uint32_t>(0x1p-14F) : 0x00800000U;
  for (size_t i = 0; i < count; ++i) {
    const auto bits = std::bit_cast<uint32_t>(values[i]);
    const uint32_t random = Mixed(stream + static_cast<uint32_t>(begin + i) * 0x9E3779B1U);
    const auto step = static_cast<int32_t>(random & (range - 1)) - static_cast<int32_t>(range / 2);
    const uint32_t magnitude = bits & kMagnitude;
    const float moved = std::bit_cast<float>(bits + static_cast<uint32_t>(step));
    const float added = half ? values[i] + static_cast<float>(step) * 0x1p-37F : values[i];
    const float other = magnitude == 0 || magnitude >= kInfinity ? values[i] : added;
    output[i] = magnitude >= normal && magnitude < kInfinity ? moved : other;
  }
}

}  // namespace halfsafe
