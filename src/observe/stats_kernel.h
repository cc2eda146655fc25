#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>

namespace halfsafe {

/// Statistics of a run of values, in the form that is fastest to add to.
struct BlockStats {
  uint64_t finite = 0;
  uint64_t nan = 0;
  uint64_t inf = 0;
  uint64_t overflow = 0;   ///< Finite, |x| > 65504.
  uint64_t subnormal = 0;  ///< 0 < |x| < kHalfRoundsToNormal.
  double min = 0.0;        ///< Extremes over finite values; meaningful when finite > 0.
  double max = 0.0;
  double abs_sum = 0.0;                    ///< Sum of finite |x|.
  std::array<uint64_t, 256> exponents{};   ///< By biased FP32 exponent; 0 and 255 stay 0.
  std::map<int, uint64_t> rare_exponents;  ///< By power of two, for values outside FP32's normal range.

  void Merge(const BlockStats& other);
};

/// Adds `count` values to `stats`: with the widest vectors of this machine, and one by one. Both give the
/// same counts and extremes; abs_sum agrees within 1e-4 relative.
void AddValues(const float* values, size_t count, BlockStats* stats);
void AddValuesScalar(const float* values, size_t count, BlockStats* stats);
void AddValuesScalar(const double* values, size_t count, BlockStats* stats);

}  // namespace halfsafe
