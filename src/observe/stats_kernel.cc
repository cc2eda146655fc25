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

/// What one pass over a block finds. NaN and infinity both end up in the sum.
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

/// How many of `count` bytes are in [1, limit].
HWY_INLINE uint64_t CountUpTo(const uint8_t* bytes, size_t count, uint8_t limit) {
  const hn::ScalableTag<uint8_t> d;
  const auto largest = hn::Set(d, static_cast<uint8_t>(limit - 1));
  const auto one = hn::Set(d, uint8_t{1});
  uint64_t found = 0;
  size_t i = 0;
  for (; i + hn::Lanes(d) <= count; i += hn::Lanes(d)) {
    const auto value = hn::Sub(hn::LoadU(d, bytes + i), one);  // Zero wraps around, past any limit.
    found += hn::CountTrue(d, hn::Eq(hn::Max(value, largest), largest));
  }
  for (; i < count; ++i) found += bytes[i] != 0 && bytes[i] <= limit ? 1 : 0;
  return found;
}

/// Buckets that are counted in one pass.
constexpr uint32_t kBuckets = 4;

/// Counts the bytes that equal `top`, `top - 1` and so on, and adds them to the histogram. Returns their
/// number.
HWY_INLINE uint64_t CountBuckets(const uint8_t* bytes, size_t count, uint32_t top, BlockStats* stats) {
  const hn::ScalableTag<uint8_t> d;
  uint8_t wanted[kBuckets];
  // No block that comes here has the exponent 255.
  for (uint32_t k = 0; k < kBuckets; ++k) wanted[k] = static_cast<uint8_t>(top > k ? top - k : 255);
  const auto p0 = hn::Set(d, wanted[0]), p1 = hn::Set(d, wanted[1]), p2 = hn::Set(d, wanted[2]),
             p3 = hn::Set(d, wanted[3]);
  uint64_t found[kBuckets] = {};
  size_t i = 0;
  for (; i + hn::Lanes(d) <= count; i += hn::Lanes(d)) {
    const auto value = hn::LoadU(d, bytes + i);
    found[0] += hn::CountTrue(d, hn::Eq(value, p0));
    found[1] += hn::CountTrue(d, hn::Eq(value, p1));
    found[2] += hn::CountTrue(d, hn::Eq(value, p2));
    found[3] += hn::CountTrue(d, hn::Eq(value, p3));
  }
  for (; i < count; ++i) {
    for (uint32_t k = 0; k < kBuckets; ++k) found[k] += bytes[i] == wanted[k] ? 1 : 0;
  }
  uint64_t total = 0;
  for (uint32_t k = 0; k < kBuckets; ++k) {
    stats->exponents[wanted[k]] += found[k];
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

/// Counts 0 < |x| < kHalfRoundsToNormal, where some exponent is low enough.
HWY_INLINE uint64_t CountSubnormal(const float* values, const uint8_t* exponents, size_t count) {
  // Biased exponent of 2^-15, the largest that FP16 may make subnormal: there, and only there, it depends.
  constexpr uint8_t kBelowNormal = 127 - 15;
  const uint64_t all = CountUpTo(exponents, count, kBelowNormal);
  const bool some_depend = CountUpTo(exponents, count, kBelowNormal - 1) != all;
  return some_depend ? CountBelow(values, count, kHalfRoundsToNormal) : all;
}

/// Adds one block of `size` values, a multiple of the lanes.
HWY_INLINE void AddBlock(const float* values, size_t size, BlockStats* stats) {
  HWY_ALIGN uint8_t exponents[kBlock];
  const BlockView block = ReadBlock(values, size, exponents);
  // Rare: NaN, infinity, values near the end of FP32, or FP32 subnormals, whose exponent is that of zero. The
  // plain twin knows all of them.
  const bool plain = !(block.abs_sum <= std::numeric_limits<float>::max()) ||
                     (block.zeros > 0 && CountZeros(values, size) != block.zeros);
  if (plain) return AddValuesScalar(values, size, stats);
  stats->min = stats->finite == 0 ? block.min : std::min<double>(stats->min, block.min);
  stats->max = stats->finite == 0 ? block.max : std::max<double>(stats->max, block.max);
  stats->finite += size;
  stats->abs_sum += block.abs_sum;
  if (block.zeros == size) return;
  if (std::max(std::fabs(block.min), std::fabs(block.max)) > kHalfMax)
    stats->overflow += CountAbove(values, size, kHalfMax);
  if (block.lowest < 127 - 14) stats->subnormal += CountSubnormal(values, exponents, size);
  CountExponents(exponents, size, size - block.zeros, block.highest, stats);
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
