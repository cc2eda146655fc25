#include "verify/draws.h"

#include <algorithm>
#include <cmath>

#include "base/half_convert.h"

namespace halfsafe {
namespace {

/// Distances that are this many times past the aim, or as far within it, need no second rounding.
constexpr double kClear = 3.0;
constexpr size_t kFewestDraws = 3;
/// So many draws that are all this close leave no room for a near tie: the others would have to lie three
/// times as far off as any of them.
constexpr size_t kEnoughWithin = 4;
constexpr double kWellWithin = 0.5;
/// What few draws may show of their spread by chance is no less than this.
constexpr double kLeastMargin = 0.05;

/// murmur3's finalizer, for the few numbers that name a stream.
constexpr uint32_t Scrambled(uint32_t x) {
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
  if (distances.size() == 1) return distances.front() > 1.0 / kClear;
  return distances.size() < kEnoughWithin || *std::ranges::max_element(distances) > kWellWithin;
}

uint32_t DitherStream(uint64_t seed, size_t draw, int64_t tensor) {
  uint32_t stream = Scrambled(static_cast<uint32_t>(seed) + 0x9E3779B9U);
  for (const uint64_t part : {seed >> 32, static_cast<uint64_t>(draw), static_cast<uint64_t>(tensor)})
    stream = Scrambled(stream ^ (static_cast<uint32_t>(part) + 0x9E3779B9U));
  return stream;
}

void Dither(const float* values, size_t begin, size_t count, DType dtype, uint32_t stream, float* output) {
  DitherValues(values, count, dtype == DType::kFloat16, stream, static_cast<uint32_t>(begin), output);
}

}  // namespace halfsafe
