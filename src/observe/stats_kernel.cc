#include "observe/stats_kernel.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

#include "halfsafe/half.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "observe/stats_kernel.cc"
#include <hwy/foreach_target.h>  // compiles this file once per instruction set

#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace halfsafe {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

/// Values per block: its floats and its exponents stay in the first-level cache between the passes over them.
constexpr size_t kBlock = 4096;

/// What one pass over a block finds. NaN and infinity both end up in the sum.
struct BlockExtremes {
  float min, max, abs_sum;
};

/// Reads the block once and leaves its biased exponents, one byte each, in `exponents`. `count` is a multiple
/// of the lanes.
HWY_INLINE BlockExtremes ReadBlock(const float* values, size_t count, uint8_t* exponents) {
  const hn::ScalableTag<float> df;
  const hn::RebindToUnsigned<decltype(df)> du;
  const hn::Rebind<uint8_t, decltype(du)> db;
  const auto magnitude_mask = hn::Set(du, 0x7FFFFFFFu);
  auto min = hn::LoadU(df, values);
  auto max = min;
  auto sum = hn::Zero(df);
  for (size_t i = 0; i < count; i += hn::Lanes(df)) {
    const auto value = hn::LoadU(df, values + i);
    const auto magnitude = hn::And(hn::BitCast(du, value), magnitude_mask);
    min = hn::Min(min, value);
    max = hn::Max(max, value);
    sum = hn::Add(sum, hn::BitCast(df, magnitude));
    hn::StoreU(hn::U8FromU32(hn::ShiftRight<23>(magnitude)), db, exponents + i);
  }
  return {hn::GetLane(hn::MinOfLanes(df, min)), hn::GetLane(hn::MaxOfLanes(df, max)),
          hn::GetLane(hn::SumOfLanes(df, sum))};
}

/// Range of the non-zero exponents of a block; lowest is 256 when all are zero.
struct ExponentRange {
  uint32_t lowest = 256, highest = 0;
};

HWY_INLINE ExponentRange FindRange(const uint8_t* exponents, size_t count) {
  const hn::ScalableTag<uint8_t> d;
  const auto one = hn::Set(d, uint8_t{1});
  auto low = hn::Set(d, uint8_t{255});
  auto high = hn::Zero(d);
  ExponentRange range;
  size_t i = 0;
  for (; i + hn::Lanes(d) <= count; i += hn::Lanes(d)) {
    const auto value = hn::LoadU(d, exponents + i);
    low = hn::Min(low, hn::Sub(value, one));  // Zero wraps around to 255, out of the way.
    high = hn::Max(high, value);
  }
  HWY_ALIGN uint8_t lows[hn::MaxLanes(hn::ScalableTag<uint8_t>())],
      highs[hn::MaxLanes(hn::ScalableTag<uint8_t>())];
  hn::Store(low, d, lows);
  hn::Store(high, d, highs);
  for (size_t lane = 0; lane < hn::Lanes(d); ++lane) {
    range.lowest = std::min<uint32_t>(range.lowest, lows[lane] + 1u);
    range.highest = std::max<uint32_t>(range.highest, highs[lane]);
  }
  for (; i < count; ++i) {
    range.lowest = std::min<uint32_t>(range.lowest, static_cast<uint8_t>(exponents[i] - 1) + 1u);
    range.highest = std::max<uint32_t>(range.highest, exponents[i]);
  }
  return range;
}

/// Counts values that are zero.
HWY_INLINE uint64_t CountZeros(const float* values, size_t count) {
  const hn::ScalableTag<float> d;
  const auto zero = hn::Zero(d);
  uint64_t total = 0;
  for (size_t i = 0; i < count; i += hn::Lanes(d))
    total += hn::CountTrue(d, hn::Eq(hn::LoadU(d, values + i), zero));
  return total;
}

/// Counts |x| > `above`.
HWY_INLINE uint64_t CountAbove(const float* values, size_t count, float above) {
  const hn::ScalableTag<float> d;
  const auto limit = hn::Set(d, above);
  uint64_t total = 0;
  for (size_t i = 0; i < count; i += hn::Lanes(d))
    total += hn::CountTrue(d, hn::Gt(hn::Abs(hn::LoadU(d, values + i)), limit));
  return total;
}

/// Counts 0 < |x| < `below`.
HWY_INLINE uint64_t CountBelow(const float* values, size_t count, float below) {
  const hn::ScalableTag<float> d;
  const auto limit = hn::Set(d, below);
  const auto zero = hn::Zero(d);
  uint64_t total = 0;
  for (size_t i = 0; i < count; i += hn::Lanes(d)) {
    const auto magnitude = hn::Abs(hn::LoadU(d, values + i));
    total += hn::CountTrue(d, hn::And(hn::Lt(magnitude, limit), hn::Gt(magnitude, zero)));
  }
  return total;
}

/// How many of `count` bytes equal `wanted`.
HWY_INLINE uint64_t CountEqual(const uint8_t* bytes, size_t count, uint8_t wanted) {
  const hn::ScalableTag<uint8_t> d;
  const auto pattern = hn::Set(d, wanted);
  uint64_t found = 0;
  size_t i = 0;
  for (; i + hn::Lanes(d) <= count; i += hn::Lanes(d))
    found += hn::CountTrue(d, hn::Eq(hn::LoadU(d, bytes + i), pattern));
  for (; i < count; ++i) found += bytes[i] == wanted ? 1 : 0;
  return found;
}

/// Adds every byte in [1, below) to the histogram, one by one: right where few are left.
HWY_INLINE void CountRest(const uint8_t* bytes, size_t count, uint32_t below, BlockStats* stats) {
  const hn::ScalableTag<uint8_t> d;
  const auto limit = hn::Set(d, static_cast<uint8_t>(below));
  const auto zero = hn::Zero(d);
  size_t i = 0;
  for (; i + hn::Lanes(d) <= count; i += hn::Lanes(d)) {
    const auto value = hn::LoadU(d, bytes + i);
    // For unsigned bytes, value < limit exactly where max(value, limit) is not value.
    const auto wanted = hn::And(hn::Not(hn::Eq(hn::Max(value, limit), value)), hn::Not(hn::Eq(value, zero)));
    uint8_t bits[hn::MaxLanes(hn::ScalableTag<uint8_t>()) / 8 + 8] = {};
    hn::StoreMaskBits(d, wanted, bits);
    for (size_t word = 0; word * 64 < hn::Lanes(d); ++word) {
      uint64_t mask = 0;
      std::memcpy(&mask, bits + word * 8, sizeof(mask));
      for (; mask != 0; mask &= mask - 1)
        ++stats->exponents[bytes[i + word * 64 + static_cast<size_t>(std::countr_zero(mask))]];
    }
  }
  for (; i < count; ++i) {
    if (bytes[i] != 0 && bytes[i] < below) ++stats->exponents[bytes[i]];
  }
}

/// Adds the exponents of a block to the histogram; `left` of them are not zero. Counting one bucket at a time
/// over packed bytes beats incrementing memory per value, because most of a block's values share a few
/// exponents below the largest; the rest goes one by one.
HWY_INLINE void CountExponents(const uint8_t* exponents, size_t count, uint64_t left,
                               const ExponentRange& range, BlockStats* stats) {
  for (uint32_t bucket = range.highest; bucket >= range.lowest && left > 0; --bucket) {
    if (left <= count / 32) return CountRest(exponents, count, bucket + 1, stats);
    const uint64_t found = CountEqual(exponents, count, static_cast<uint8_t>(bucket));
    stats->exponents[bucket] += found;
    left -= found;
  }
}

/// Adds one block of `size` values, a multiple of the lanes.
HWY_INLINE void AddBlock(const float* values, size_t size, BlockStats* stats) {
  HWY_ALIGN uint8_t exponents[kBlock];
  const BlockExtremes block = ReadBlock(values, size, exponents);
  const uint64_t zeros = CountEqual(exponents, size, 0);
  // Rare: NaN, infinity, values near the end of FP32, or FP32 subnormals, whose exponent is that of zero. The
  // plain twin knows all of them.
  const bool plain = !(block.abs_sum <= std::numeric_limits<float>::max()) ||
                     (zeros > 0 && CountZeros(values, size) != zeros);
  if (plain) return AddValuesScalar(values, size, stats);
  stats->min = stats->finite == 0 ? block.min : std::min<double>(stats->min, block.min);
  stats->max = stats->finite == 0 ? block.max : std::max<double>(stats->max, block.max);
  stats->finite += size;
  stats->abs_sum += block.abs_sum;
  if (zeros == size) return;
  if (std::max(std::fabs(block.min), std::fabs(block.max)) > kHalfMax)
    stats->overflow += CountAbove(values, size, kHalfMax);
  const ExponentRange range = FindRange(exponents, size);
  constexpr uint32_t kBelowNormal =
      127 - 15;  // Biased exponent of 2^-15, the largest that FP16 may make subnormal.
  if (range.lowest <= kBelowNormal) stats->subnormal += CountBelow(values, size, kHalfRoundsToNormal);
  CountExponents(exponents, size, size - zeros, range, stats);
}

void AddValuesVector(const float* values, size_t count, BlockStats* stats) {
  const size_t lanes = hn::Lanes(hn::ScalableTag<float>());
  while (count >= lanes) {
    const size_t size = std::min(kBlock, count) / lanes * lanes;
    AddBlock(values, size, stats);
    values += size;
    count -= size;
  }
  AddValuesScalar(values, count, stats);
}

}  // namespace HWY_NAMESPACE
}  // namespace halfsafe
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace halfsafe {

HWY_EXPORT(AddValuesVector);

void BlockStats::Merge(const BlockStats& other) {
  if (other.finite > 0) {
    min = finite == 0 ? other.min : std::min(min, other.min);
    max = finite == 0 ? other.max : std::max(max, other.max);
  }
  finite += other.finite;
  nan += other.nan;
  inf += other.inf;
  overflow += other.overflow;
  subnormal += other.subnormal;
  abs_sum += other.abs_sum;
  for (size_t i = 0; i < exponents.size(); ++i) exponents[i] += other.exponents[i];
  for (const auto& [power, count] : other.rare_exponents) rare_exponents[power] += count;
}

void AddValues(const float* values, size_t count, BlockStats* stats) {
  HWY_DYNAMIC_DISPATCH(AddValuesVector)(values, count, stats);
}

namespace {

template <typename T>
void AddScalar(const T* values, size_t count, BlockStats* stats) {
  for (size_t i = 0; i < count; ++i) {
    const double value = values[i];
    if (std::isnan(value)) {
      ++stats->nan;
      continue;
    }
    if (std::isinf(value)) {
      ++stats->inf;
      continue;
    }
    stats->min = stats->finite == 0 ? value : std::min(stats->min, value);
    stats->max = stats->finite == 0 ? value : std::max(stats->max, value);
    ++stats->finite;
    const double magnitude = std::fabs(value);
    stats->abs_sum += magnitude;
    if (magnitude > kHalfMax) ++stats->overflow;
    if (magnitude == 0.0) continue;
    if (magnitude < kHalfRoundsToNormal) ++stats->subnormal;
    const int power = std::ilogb(magnitude);
    if (power >= -126 && power <= 127) {
      ++stats->exponents[static_cast<size_t>(power + 127)];
    } else {
      ++stats->rare_exponents[power];
    }
  }
}

}  // namespace

void AddValuesScalar(const float* values, size_t count, BlockStats* stats) {
  AddScalar(values, count, stats);
}
void AddValuesScalar(const double* values, size_t count, BlockStats* stats) {
  AddScalar(values, count, stats);
}

}  // namespace halfsafe
#endif
