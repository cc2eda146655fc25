#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>

#include "halfsafe/sample.h"
#include "observe/rows.h"

/// What runs on the GPU, and the memory that it works on.
namespace halfsafe::cuda {

/// Powers of two that FP32 can hold, its subnormals included, each with a bin of its own.
constexpr int kLowestPower = -149;
constexpr int kBins = 127 - kLowestPower + 1;

/// Powers of two that FP64 can hold beside these; a table of its own has a bin for each of FP64's.
constexpr int kLowestWidePower = -1074;
constexpr int kWideBins = 1023 - kLowestWidePower + 1;

using Count = unsigned long long;  // What CUDA adds atomically.

/// What a number of values showed, but for their powers of two.
struct Totals {
  Count finite;
  Count nan;
  Count inf;
  Count overflow;
  Count subnormal;
  double min;  ///< Meaningful when finite > 0, as is `max`.
  double max;
  double abs_sum;
};

/// What one slot has seen; nothing when all bytes are zero.
struct Accumulator {
  Totals totals;  ///< `abs_sum` is the largest of a run.
  Count bins[kBins];
  /// Falls as the smallest row maximum rises: 0 where no row was seen. See RowMaxOf.
  uint32_t row_key;
};

/// Blocks of one launch. Fixed by the number of values alone, so that sums don't depend on the GPU.
constexpr size_t kMostBlocks = 512;

/// Where the blocks of a launch meet; launches that share it must not run at the same time.
struct Meeting {
  Totals parts[kMostBlocks];
  unsigned arrived;  ///< Zero between launches.
};

/// Adds `count` > 0 values of a float type to `into`, and powers of two that FP32 hasn't to `wide`, which
/// FP64 alone needs.
cudaError_t AddValues(DType dtype, const void* values, size_t count, Meeting* meeting, Accumulator* into,
                      Count* wide, cudaStream_t stream);

/// Takes the smallest row maximum into `into`.
cudaError_t AddRows(const float* values, const Rows& rows, Accumulator* into, cudaStream_t stream);

/// The number behind a `row_key` that is not 0.
float RowMaxOf(uint32_t row_key);

}  // namespace halfsafe::cuda
