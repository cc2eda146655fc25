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

#if HWY_TARGET == HWY_SCALAR

void AddValuesVector(const float* values, size_t count, BlockStats* stats) {
  AddValuesScalar(values, count, stats);
}

#else

namespace hn = hwy::HWY_NAMESPACE;

/// Values per block: its floats and its exponents stay in the first-level cache between the passes over them.
constexpr size_t kBlock = 4096;

/// What one pass over a block finds.
struct BlockView {
  float min, max, abs_sum;
  /// Range of the non-zero exponents; lowest is 256 when all are zero.
  uint32_t lowest = 256, highest = 0;
  uint64_t zeros = 0;  ///< Exponents that are zero.
};

/// Extremes and sum in one lane of four, so that no operation waits for the one before it.
struct Accumulators {
  using Tag = hn::ScalableTag<float>;
  hn::Vec<Tag> min, max, sum;

  HWY_INLINE explicit Accumulators(const float* values)
      : min(hn::LoadU(Tag(), values)), max(min), sum(hn::Zero(Tag())) {}

  /// Adds a vector of values and returns their magnitudes' bits.
  HWY_INLINE hn::VFromD<hn::RebindToUnsigned<Tag> > Add(const float* values) {
    const hn::RebindToUnsigned<Tag> du;
    const auto value = hn::LoadU(Tag(), values);
    const auto magnitude = hn::And(hn::BitCast(du, value), hn::Set(du, 0x7FFFFFFFu));
    min = hn::Min(min, value);
    max = hn::Max(max, value);
    sum = hn::Add(sum, hn::BitCast(Tag(), magnitude));
    return magnitude;
  }

  HWY_INLINE void Merge(const Accumulators& other) {
    min = hn::Min(min, other.min);
    max = hn::Max(max, other.max);
    sum = hn::Add(sum, other.sum);
  }
};

/// Reads the block once and leaves its biased exponents, one byte each and in no particular order, in
/// `exponents`. `count` is a multiple of the lanes.
HWY_INLINE BlockView ReadBlock(const float* values, size_t count, uint8_t* exponents) {
  const hn::ScalableTag<float> df;
  const hn::RebindToUnsigned<decltype(df)> du;
  const hn::Repartition<uint8_t, decltype(df)> d8;
  const size_t lanes = hn::Lanes(df);
  Accumulators a(values), b(values), c(values), d(values);
  auto low = hn::Set(d8, uint8_t{255});
  auto high = hn::Zero(d8);
  BlockView view{};
  const auto see = [&](hn::Vec<decltype(d8)> bytes) HWY_ATTR {
    low = hn::Min(low, hn::Sub(bytes, hn::Set(d8, uint8_t{1})));  // Zero wraps around, out of the way.
    high = hn::Max(high, bytes);
    view.zeros += hn::CountTrue(d8, hn::Eq(bytes, hn::Zero(d8)));
  };
  size_t i = 0;
  for (; i + 4 * lanes <= count; i += 4 * lanes) {
    auto packed = hn::ShiftRight<23>(a.Add(values + i));
    packed = hn::OrAnd(packed, hn::ShiftRight<15>(b.Add(values + i + lanes)), hn::Set(du, 0xFF00u));
    packed = hn::OrAnd(packed, hn::ShiftRight<7>(c.Add(values + i + 2 * lanes)), hn::Set(du, 0xFF0000u));
    packed = hn::OrAnd(packed, hn::ShiftLeft<1>(d.Add(values + i + 3 * lanes)), hn::Set(du, 0xFF000000u));
    const auto bytes = hn::BitCast(d8, packed);
    see(bytes);
    hn::StoreU(bytes, d8, exponents + i);
  }
  for (; i < count; i += lanes) {
    HWY_ALIGN uint32_t last[hn::MaxLanes(hn::ScalableTag<float>())];
    hn::Store(hn::ShiftRight<23>(a.Add(values + i)), du, last);
    for (size_t lane = 0; lane < lanes; ++lane) {
      const uint8_t exponent = exponents[i + lane] = static_cast<uint8_t>(last[lane]);
      view.zeros += exponent == 0 ? 1 : 0;
      view.lowest = std::min<uint32_t>(view.lowest, static_cast<uint8_t>(exponent - 1) + 1u);
      view.highest = std::max<uint32_t>(view.highest, exponent);
    }
  }
  a.Merge(b);
  c.Merge(d);
  a.Merge(c);
  view.min = hn::GetLane(hn::MinOfLanes(df, a.min));
  view.max = hn::GetLane(hn::MaxOfLanes(df, a.max));
  view.abs_sum = hn::GetLane(hn::SumOfLanes(df, a.sum));
  HWY_ALIGN uint8_t lows[hn::MaxLanes(hn::ScalableTag<uint8_t>())],
      highs[hn::MaxLanes(hn::ScalableTag<uint8_t>())];
  hn::Store(low, d8, lows);
  hn::Store(high, d8, highs);
  for (size_t lane = 0; lane < hn::Lanes(d8); ++lane) {
    view.lowest = std::min<uint32_t>(view.lowest, lows[lane] + 1u);
    view.highest = std::max<uint32_t>(view.highest, highs[lane]);
  }
  return view;
}

/// Adds up magnitudes whose sum, or a part of it, is past FP32.
HWY_INLINE double WideSum(const float* values, size_t count) {
  const hn::ScalableTag<double> d;
  const hn::Rebind<float, decltype(d)> half;
  auto sum = hn::Zero(d);
  for (size_t i = 0; i < count; i += hn::Lanes(d))
    sum = hn::Add(sum, hn::Abs(hn::PromoteTo(d, hn::LoadU(half, values + i))));
  return hn::GetLane(hn::SumOfLanes(d, sum));
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

/// Counts the bytes that lie a given distance, and one more, below a limit. A lookup turns a distance into a
/// one in either half of a byte, so that two buckets share a vector of counters.
struct BucketPair {
  using Tag = hn::ScalableTag<uint8_t>;
  using WideTag = hn::Repartition<uint64_t, Tag>;
  static constexpr size_t kMostAdded = 15;  ///< Distances to a lane between calls of Flush.

  hn::Vec<Tag> ones, counts;
  hn::Vec<WideTag> even, odd;

  HWY_INLINE explicit BucketPair(size_t distance)
      : counts(hn::Zero(Tag())), even(hn::Zero(WideTag())), odd(hn::Zero(WideTag())) {
    HWY_ALIGN uint8_t table[16] = {};
    table[distance] = 1;
    table[distance + 1] = 16;
    ones = hn::LoadDup128(Tag(), table);
  }

  HWY_INLINE void Add(hn::Vec<Tag> distances) {
    counts = hn::Add(counts, hn::TableLookupBytesOr0(ones, distances));
  }

  HWY_INLINE void Flush() {
    const auto low = hn::Set(Tag(), uint8_t{15});
    const auto high = hn::BitCast(Tag(), hn::ShiftRight<4>(hn::BitCast(WideTag(), counts)));
    even = hn::Add(even, hn::SumsOf8(hn::And(counts, low)));
    odd = hn::Add(odd, hn::SumsOf8(hn::And(high, low)));
    counts = hn::Zero(Tag());
  }

  HWY_INLINE void Write(uint64_t* found) const {
    found[0] = hn::GetLane(hn::SumOfLanes(WideTag(), even));
    found[1] = hn::GetLane(hn::SumOfLanes(WideTag(), odd));
  }
};

/// Buckets that are counted in one pass.
constexpr uint32_t kBuckets = 8;

/// Counts the bytes that equal `top`, `top - 1` and so on, and adds them to the histogram. Returns their
/// number.
HWY_INLINE uint64_t CountBuckets(const uint8_t* bytes, size_t count, uint32_t top, BlockStats* stats) {
  const BucketPair::Tag d;
  const size_t lanes = hn::Lanes(d);
  const auto limit = hn::Set(d, static_cast<uint8_t>(top));
  // From 16 on, a distance gets its highest bit, for which a lookup gives zero.
  const auto past = hn::Set(d, uint8_t{128 - 16});
  BucketPair p0(0), p2(2), p4(4), p6(6);
  size_t i = 0;
  while (i + lanes <= count) {
    const size_t end = std::min(count, i + BucketPair::kMostAdded * lanes);
    for (; i + lanes <= end; i += lanes) {
      const auto distances = hn::SaturatedAdd(hn::Sub(limit, hn::LoadU(d, bytes + i)), past);
      p0.Add(distances);
      p2.Add(distances);
      p4.Add(distances);
      p6.Add(distances);
    }
    p0.Flush();
    p2.Flush();
    p4.Flush();
    p6.Flush();
  }
  uint64_t found[kBuckets];
  p0.Write(found);
  p2.Write(found + 2);
  p4.Write(found + 4);
  p6.Write(found + 6);
  for (; i < count; ++i) {
    if (bytes[i] <= top && bytes[i] + kBuckets > top) ++found[top - bytes[i]];
  }
  uint64_t total = 0;
  for (uint32_t k = 0; k < std::min(kBuckets, top); ++k) {  // Zero is no exponent of the histogram.
    stats->exponents[top - k] += found[k];
    total += found[k];
  }
  return total;
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

/// Adds the exponents of a block to the histogram; `left` of them are not zero. Counting a few buckets at a
/// time over packed bytes beats incrementing memory per value, because most of a block's values share a few
/// exponents below the largest; the rest goes one by one.
HWY_INLINE void CountExponents(const uint8_t* exponents, size_t count, uint64_t left, uint32_t highest,
                               BlockStats* stats) {
  for (uint32_t top = highest; left > 0; top -= kBuckets) {
    if (left <= count / 64) return CountRest(exponents, count, top + 1, stats);
    left -= CountBuckets(exponents, count, top, stats);
  }
}

/// Biased exponent of 2^-15, the largest that FP16 may make subnormal: there, and only there, it depends.
constexpr uint32_t kBelowNormal = 127 - 15;

/// How many values with exponents from `lowest` to kBelowNormal were seen.
HWY_INLINE uint64_t CountLow(const BlockStats& stats, uint32_t lowest) {
  uint64_t total = 0;
  for (uint32_t exponent = lowest; exponent <= kBelowNormal; ++exponent) total += stats.exponents[exponent];
  return total;
}

/// Adds one block of `size` values, a multiple of the lanes.
HWY_INLINE void AddBlock(const float* values, size_t size, BlockStats* stats) {
  HWY_ALIGN uint8_t exponents[kBlock];
  const BlockView block = ReadBlock(values, size, exponents);
  // Rare: NaN, infinity, or FP32 subnormals, whose exponent is that of zero. The plain twin knows all of
  // them.
  if (block.highest == 255 || (block.zeros > 0 && CountZeros(values, size) != block.zeros))
    return AddValuesScalar(values, size, stats);
  stats->min = stats->finite == 0 ? block.min : std::min<double>(stats->min, block.min);
  stats->max = stats->finite == 0 ? block.max : std::max<double>(stats->max, block.max);
  stats->finite += size;
  // Masks of attention hold the lowest number of FP32.
  stats->abs_sum += std::isinf(block.abs_sum) ? WideSum(values, size) : block.abs_sum;
  if (block.zeros == size) return;
  if (std::max(std::fabs(block.min), std::fabs(block.max)) > kHalfMax)
    stats->overflow += CountAbove(values, size, kHalfMax);
  const uint64_t low = CountLow(*stats, block.lowest), edge = stats->exponents[kBelowNormal];
  CountExponents(exponents, size, size - block.zeros, block.highest, stats);
  stats->subnormal += stats->exponents[kBelowNormal] > edge ? CountBelow(values, size, kHalfRoundsToNormal)
                                                            : CountLow(*stats, block.lowest) - low;
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

#endif  // HWY_TARGET == HWY_SCALAR

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

void AddValuesScalar(const float* values, size_t count, BlockStats* stats) {
  // In registers: each value would wait for the one before to come back from memory.
  float min = INFINITY, max = -INFINITY;
  double abs_sum = stats->abs_sum;
  uint64_t finite = 0, overflow = 0, subnormal = 0;
  for (size_t i = 0; i < count; ++i) {
    const uint32_t magnitude = std::bit_cast<uint32_t>(values[i]) & 0x7FFFFFFFu;
    const uint32_t exponent = magnitude >> 23;
    if (exponent == 255) {
      ++(magnitude > 0x7F800000u ? stats->nan : stats->inf);
      continue;
    }
    ++finite;
    min = std::min(min, values[i]);
    max = std::max(max, values[i]);
    const float absolute = std::bit_cast<float>(magnitude);
    abs_sum += absolute;
    overflow += absolute > kHalfMax ? 1 : 0;
    subnormal += absolute < kHalfRoundsToNormal && magnitude > 0 ? 1 : 0;
    if (exponent > 0) {
      ++stats->exponents[exponent];
    } else if (magnitude > 0) {
      ++stats->rare_exponents[std::ilogb(absolute)];
    }
  }
  if (finite == 0) return;
  stats->min = stats->finite == 0 ? min : std::min<double>(stats->min, min);
  stats->max = stats->finite == 0 ? max : std::max<double>(stats->max, max);
  stats->finite += finite;
  stats->abs_sum = abs_sum;
  stats->overflow += overflow;
  stats->subnormal += subnormal;
}

void AddValuesScalar(const double* values, size_t count, BlockStats* stats) {
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

}  // namespace halfsafe
#endif
