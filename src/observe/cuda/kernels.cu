#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <algorithm>
#include <bit>

#include "halfsafe/half.h"
#include "observe/cuda/kernels.h"

namespace halfsafe::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kLanes = 32;
constexpr unsigned kWholeWarp = 0xFFFFFFFFu;
/// Values that a thread loads at once.
constexpr int kBatch = 8;
/// Values that a block should have at least: it clears and sums up its histogram however few it has.
constexpr size_t kBlockValues = 8192;

__device__ float Widen(float value) { return value; }
__device__ double Widen(double value) { return value; }
__device__ float Widen(__half value) { return __half2float(value); }
__device__ float Widen(__nv_bfloat16 value) { return __bfloat162float(value); }

/// The power of two of a finite number that is not 0.
__device__ int Power(float magnitude) {
  const unsigned bits = __float_as_uint(magnitude);
  return bits >> 23 != 0 ? static_cast<int>(bits >> 23) - 127 : kLowestPower + 31 - __clz(bits);
}
__device__ int Power(double magnitude) { return ilogb(magnitude); }

__device__ Totals Nothing() { return {0, 0, 0, 0, 0, INFINITY, -INFINITY, 0.0}; }

/// What one thread has seen, in numbers as small as will do.
template <typename Value>
struct Seen {
  unsigned finite = 0, nan = 0, inf = 0, overflow = 0, subnormal = 0;
  Value min = INFINITY, max = -INFINITY;
  double abs_sum = 0.0;

  __device__ operator Totals() const { return {finite, nan, inf, overflow, subnormal, min, max, abs_sum}; }
};

__device__ void Merge(const Totals& other, Totals* totals) {
  totals->finite += other.finite;
  totals->nan += other.nan;
  totals->inf += other.inf;
  totals->overflow += other.overflow;
  totals->subnormal += other.subnormal;
  totals->min = fmin(totals->min, other.min);
  totals->max = fmax(totals->max, other.max);
  totals->abs_sum += other.abs_sum;
}

__device__ Totals FromLaneBelow(const Totals& totals, int distance) {
  return {__shfl_down_sync(kWholeWarp, totals.finite, distance),
          __shfl_down_sync(kWholeWarp, totals.nan, distance),
          __shfl_down_sync(kWholeWarp, totals.inf, distance),
          __shfl_down_sync(kWholeWarp, totals.overflow, distance),
          __shfl_down_sync(kWholeWarp, totals.subnormal, distance),
          __shfl_down_sync(kWholeWarp, totals.min, distance),
          __shfl_down_sync(kWholeWarp, totals.max, distance),
          __shfl_down_sync(kWholeWarp, totals.abs_sum, distance)};
}

/// The totals of all threads of the block, in thread 0. Always adds in the same order.
__device__ Totals OfBlock(Totals totals) {
  __shared__ Totals warps[kThreads / kLanes];
  for (int distance = kLanes / 2; distance > 0; distance /= 2)
    Merge(FromLaneBelow(totals, distance), &totals);
  if (threadIdx.x % kLanes == 0) warps[threadIdx.x / kLanes] = totals;
  __syncthreads();
  if (threadIdx.x == 0) {
    for (int warp = 1; warp < kThreads / kLanes; ++warp) Merge(warps[warp], &totals);
  }
  __syncthreads();
  return totals;
}

/// Powers of two of a block's values. Each lane of a warp counts in a column of its own, which is a memory
/// bank of its own: values of a tensor share few powers, and would wait for each other.
class Histogram {
 public:
  __device__ explicit Histogram(unsigned (*columns)[kLanes]) : columns_(columns) {
    for (int i = threadIdx.x; i < kBins * kLanes; i += kThreads) columns_[i / kLanes][i % kLanes] = 0;
    __syncthreads();
  }
  __device__ void Add(int power, Count* wide) {
    if (power >= kLowestPower && power <= 127) {
      atomicAdd(&columns_[power - kLowestPower][threadIdx.x % kLanes], 1u);
    } else {
      atomicAdd(&wide[power - kLowestWidePower], Count{1});
    }
  }
  __device__ void AddTo(Count* bins) {
    __syncthreads();
    for (int bin = threadIdx.x; bin < kBins; bin += kThreads) {
      Count sum = 0;
      // Neighbours begin in different banks.
      for (int lane = 0; lane < kLanes; ++lane) sum += columns_[bin][(lane + bin) % kLanes];
      if (sum != 0) atomicAdd(&bins[bin], sum);
    }
  }

 private:
  unsigned (*columns_)[kLanes];
};

template <typename Value>
__device__ void AddValue(Value value, Histogram* histogram, Count* wide, Seen<Value>* seen) {
  const Value magnitude = fabs(value);
  if (!(magnitude < INFINITY)) {
    ++(magnitude == INFINITY ? seen->inf : seen->nan);
    return;
  }
  ++seen->finite;
  seen->min = fmin(seen->min, value);
  seen->max = fmax(seen->max, value);
  seen->abs_sum += magnitude;
  if (magnitude == 0) return;
  seen->overflow += magnitude > kHalfMax ? 1 : 0;
  seen->subnormal += magnitude < kHalfRoundsToNormal ? 1 : 0;
  histogram->Add(Power(magnitude), wide);
}

/// Adds this thread's part of the values.
template <typename T>
__device__ Totals AddPart(const T* __restrict__ values, size_t count, Histogram* histogram, Count* wide) {
  using Value = decltype(Widen(T()));
  Seen<Value> seen;
  const size_t stride = size_t{kThreads} * gridDim.x;
  for (size_t i = size_t{kThreads} * blockIdx.x + threadIdx.x; i < count; i += kBatch * stride) {
    T batch[kBatch];  // Loaded at once: one by one, each would wait for the memory.
#pragma unroll
    for (int k = 0; k < kBatch; ++k) {
      if (i + k * stride < count) batch[k] = values[i + k * stride];
    }
#pragma unroll
    for (int k = 0; k < kBatch; ++k) {
      if (i + k * stride < count) AddValue(Widen(batch[k]), histogram, wide, &seen);
    }
  }
  return seen;
}

/// Adds what a launch has found to the slot.
__device__ void Keep(const Totals& run, Totals* slot) {
  const bool first = slot->finite == 0;
  const double abs_sum = fmax(slot->abs_sum, run.abs_sum);
  Totals sum = *slot;
  if (first) {
    sum.min = INFINITY;
    sum.max = -INFINITY;
  }
  Merge(run, &sum);
  sum.abs_sum = abs_sum;
  *slot = sum;
}

template <typename T>
__global__ void __launch_bounds__(kThreads)
    ValuesKernel(const T* values, size_t count, Meeting* meeting, Accumulator* into, Count* wide) {
  __shared__ unsigned columns[kBins][kLanes];
  __shared__ bool last;
  Histogram histogram(columns);
  Totals totals = AddPart(values, count, &histogram, wide);
  histogram.AddTo(into->bins);
  totals = OfBlock(totals);
  if (threadIdx.x == 0) {
    meeting->parts[blockIdx.x] = totals;
    __threadfence();
    last = atomicAdd(&meeting->arrived, 1u) == gridDim.x - 1;
  }
  __syncthreads();
  if (!last) return;
  __threadfence();
  // The last block to arrive adds up all, in their order.
  totals = Nothing();
  for (unsigned part = threadIdx.x; part < gridDim.x; part += kThreads) Merge(meeting->parts[part], &totals);
  totals = OfBlock(totals);
  if (threadIdx.x > 0) return;
  meeting->arrived = 0;
  Keep(totals, &into->totals);
}

/// Larger for smaller numbers, and never 0.
__device__ uint32_t RowKey(float value) {
  const uint32_t bits = __float_as_uint(value);
  const uint32_t rising = (bits & 0x80000000u) != 0 ? ~bits : bits | 0x80000000u;
  return ~rising;
}

/// A warp for each row that lies in one piece, else a thread.
__global__ void __launch_bounds__(kThreads) RowsKernel(const float* values, Rows rows, uint32_t* key) {
  const int64_t threads = rows.inner == 1 ? kLanes : 1;
  const int64_t row = (int64_t{kThreads} * blockIdx.x + threadIdx.x) / threads;
  float largest = -INFINITY;
  if (row < rows.outer * rows.inner) {
    const float* first = values + row / rows.inner * rows.length * rows.inner + row % rows.inner;
    for (int64_t k = threadIdx.x % threads; k < rows.length; k += threads)
      largest = fmaxf(largest, first[k * rows.inner]);  // Of a NaN and a number, the number.
  }
  for (int distance = kLanes / 2; threads > 1 && distance > 0; distance /= 2)
    largest = fmaxf(largest, __shfl_xor_sync(kWholeWarp, largest, distance));
  uint32_t mine = row < rows.outer * rows.inner ? RowKey(largest) : 0;
  for (int distance = kLanes / 2; distance > 0; distance /= 2)
    mine = max(mine, __shfl_xor_sync(kWholeWarp, mine, distance));
  if (threadIdx.x % kLanes == 0 && mine != 0) atomicMax(key, mine);
}

}  // namespace

cudaError_t AddValues(DType dtype, const void* values, size_t count, Meeting* meeting, Accumulator* into,
                      Count* wide, cudaStream_t stream) {
  const auto blocks = static_cast<unsigned>(std::clamp<size_t>(count / kBlockValues, 1, kMostBlocks));
  const auto launch = [&]<typename T>(const T* typed) {
    ValuesKernel<<<blocks, kThreads, 0, stream>>>(typed, count, meeting, into, wide);
    return cudaGetLastError();
  };
  switch (dtype) {
    case DType::kFloat:
      return launch(static_cast<const float*>(values));
    case DType::kDouble:
      return launch(static_cast<const double*>(values));
    case DType::kFloat16:
      return launch(static_cast<const __half*>(values));
    case DType::kBfloat16:
      return launch(static_cast<const __nv_bfloat16*>(values));
    default:
      return cudaErrorInvalidValue;
  }
}

cudaError_t AddRows(const float* values, const Rows& rows, Accumulator* into, cudaStream_t stream) {
  const int64_t threads = rows.outer * rows.inner * (rows.inner == 1 ? kLanes : 1);
  const int64_t blocks = (threads + kThreads - 1) / kThreads;
  RowsKernel<<<static_cast<unsigned>(blocks), kThreads, 0, stream>>>(values, rows, &into->row_key);
  return cudaGetLastError();
}

float RowMaxOf(uint32_t row_key) {
  const uint32_t rising = ~row_key;
  return std::bit_cast<float>((rising & 0x80000000u) != 0 ? rising & 0x7FFFFFFFu : ~rising);
}

}  // namespace halfsafe::cuda
