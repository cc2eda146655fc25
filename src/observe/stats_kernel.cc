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

/// What one pass over a block finds. Magnitudes are compared as integers: for non-negative floats the order is the same,
/// and NaN and infinity come out on top.
struct BlockExtremes {
  float min, max, abs_sum;
  uint32_t largest;           ///< Bits of the largest |x|.
  uint32_t smallest_nonzero;  ///< Bits of the smallest |x| > 0; all ones when there is none.
};

/// Reads the block once and leaves its biased exponents, one byte each, in `exponents`. `count` is a multiple of the lanes.
HWY_INLINE BlockExtremes ReadBlock(const float* values, size_t count, uint8_t* exponents) {
  const hn::ScalableTag<float> df;
  const hn::RebindToUnsigned<decltype(df)> du;
  const hn::Rebind<uint8_t, decltype(du)> db;
  const size_t lanes = hn::Lanes(df);
  const auto zero = hn::Zero(du);
  const auto ones = hn::Set(du, 0xFFFFFFFFu);
  const auto magnitude_mask = hn::Set(du, 0x7FFFFFFFu);
  auto min = hn::LoadU(df, values);
  auto max = min;
  auto sum = hn::Zero(df);
  auto largest = zero;
  auto smallest = ones;
  for (size_t i = 0; i < count; i += lanes) {
    const auto value = hn::LoadU(df, values + i);
    const auto magnitude = hn::And(hn::BitCast(du, value), magnitude_mask);
    min = hn::Min(min, value);
    max = hn::Max(max, value);
    sum = hn::Add(sum, hn::BitCast(df, magnitude));
    largest = hn::Max(largest, magnitude);
    smallest = hn::Min(smallest, hn::IfThenElse(hn::Eq(magnitude, zero), ones, magnitude));
    hn::StoreU(hn::U8FromU32(hn::ShiftRight<23>(magnitude)), db, exponents + i);
  }
  return {hn::GetLane(hn::MinOfLanes(df, min)), hn::GetLane(hn::MaxOfLanes(df, max)),
          hn::GetLane(hn::SumOfLanes(df, sum)), hn::GetLane(hn::MaxOfLanes(du, largest)),
          hn::GetLane(hn::MinOfLanes(du, smallest))};
}

/// Counts |x| > `above`.
HWY_INLINE uint64_t CountAbove(const float* values, size_t count, float above) {
  const hn::ScalableTag<float> d;
  const auto limit = hn::Set(d, above);
  uint64_t total = 0;
  for (size_t i = 0; i < count; i += hn::Lanes(d)) total += hn::CountTrue(d, hn::Gt(hn::Abs(hn::LoadU(d, values + i)), limit));
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
  for (; i + hn::Lanes(d) <= count; i += hn::Lanes(d)) found += hn::CountTrue(d, hn::Eq(hn::LoadU(d, bytes + i), pattern));
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
      for (; mask != 0; mask &= mask - 1) ++stats->exponents[bytes[i + word * 64 + static_cast<size_t>(std::countr_zero(mask))]];
    }
  }
  for (; i < count; ++i) {
    if (bytes[i] != 0 && bytes[i] < below) ++stats->exponents[bytes[i]];
  }
}

/// Adds the exponents of a block to the histogram. Counting one bucket at a time over packed bytes beats incrementing
/// memory per value, because most of a block's values share a few exponents below the largest; the rest goes one by one.
HWY_INLINE void CountExponents(const uint8_t* exponents, size_t count, uint32_t lowest, uint32_t highest, BlockStats* stats) {
  uint64_t left = count - CountEqual(exponents, count, 0);
  for (uint32_t bucket = highest; bucket >= lowest && left > 0; --bucket) {
    if (left <= count / 32) return CountRest(exponents, count, bucket + 1, stats);
    const uint64_t found = CountEqual(exponents, count, static_cast<uint8_t>(bucket));
    stats->exponents[bucket] += found;
    left -= found;
  }
}

void AddValuesVector(const float* values, size_t count, BlockStats* stats) {
  const size_t lanes = hn::Lanes(hn::ScalableTag<float>());
  HWY_ALIGN uint8_t exponents[kBlock];
  while (count >= lanes) {
    const size_t size = std::min(kBlock, count) / lanes * lanes;
    const BlockExtremes block = ReadBlock(values, size, exponents);
    const bool has_nonzero = block.smallest_nonzero != 0xFFFFFFFFu;
    const bool sum_overflows = block.abs_sum > std::numeric_limits<float>::max();
    if (block.largest >= 0x7F800000u || (has_nonzero && block.smallest_nonzero < 0x00800000u) || sum_overflows) {
      // Rare: NaN, infinity, FP32 subnormals or values near the end of FP32. The plain twin knows all of them.
      AddValuesScalar(values, size, stats);
    } else {
      stats->min = stats->finite == 0 ? block.min : std::min<double>(stats->min, block.min);
      stats->max = stats->finite == 0 ? block.max : std::max<double>(stats->max, block.max);
      stats->finite += size;
      stats->abs_sum += block.abs_sum;
      if (block.largest > std::bit_cast<uint32_t>(kHalfMax)) stats->overflow += CountAbove(values, size, kHalfMax);
      if (has_nonzero) {
        if (block.smallest_nonzero < std::bit_cast<uint32_t>(kHalfRoundsToNormal)) {
          stats->subnormal += CountBelow(values, size, kHalfRoundsToNormal);
        }
        CountExponents(exponents, size, block.smallest_nonzero >> 23, block.largest >> 23, stats);
      }
    }
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

void AddValuesScalar(const float* values, size_t count, BlockStats* stats) { AddScalar(values, count, stats); }
void AddValuesScalar(const double* values, size_t count, BlockStats* stats) { AddScalar(values, count, stats); }

}  // namespace halfsafe
#endif
