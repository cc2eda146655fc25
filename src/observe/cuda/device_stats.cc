#include "observe/device_stats.h"

#include <fmt/format.h>

#include <algorithm>
#include <unordered_map>

#include "halfsafe/error.h"
#include "observe/cuda/kernels.h"

namespace halfsafe {
namespace {

/// Where the library fails it is out of memory or a bug: a missing GPU shows before.
void Require(cudaError_t error, const char* what) {
  if (error == cudaSuccess) return;
  throw Error(ExitCode::kInternal, fmt::format("CUDA failed to {}: {}", what, cudaGetErrorString(error)));
}

struct FreeOnDevice {
  void operator()(void* memory) const { cudaFree(memory); }
};
struct FreeOnHost {
  void operator()(void* memory) const { cudaFreeHost(memory); }
};
template <typename T>
using DeviceMemory = std::unique_ptr<T[], FreeOnDevice>;
/// Memory that the GPU copies into by itself.
template <typename T>
using PinnedMemory = std::unique_ptr<T[], FreeOnHost>;

template <typename T>
DeviceMemory<T> AllocateOnDevice(size_t count) {
  void* memory = nullptr;
  Require(cudaMalloc(&memory, count * sizeof(T)), "allocate memory on the GPU");
  return DeviceMemory<T>(static_cast<T*>(memory));
}

template <typename T>
PinnedMemory<T> AllocatePinned(size_t count) {
  void* memory = nullptr;
  Require(cudaMallocHost(&memory, count * sizeof(T)), "allocate memory that it can copy to");
  return PinnedMemory<T>(static_cast<T*>(memory));
}

DeviceSeen ToSeen(const cuda::Accumulator& accumulator) {
  const cuda::Totals& totals = accumulator.totals;
  DeviceSeen seen;
  seen.values.finite = totals.finite;
  seen.values.nan = totals.nan;
  seen.values.inf = totals.inf;
  seen.values.overflow = totals.overflow;
  seen.values.subnormal = totals.subnormal;
  seen.values.min = totals.min;
  seen.values.max = totals.max;
  seen.values.abs_sum = seen.abs_sum = totals.abs_sum;
  for (int bin = 0; bin < cuda::kBins; ++bin) {
    const int power = bin + cuda::kLowestPower;
    if (accumulator.bins[bin] == 0) continue;
    if (power >= -126) {
      seen.values.exponents[static_cast<size_t>(power + 127)] = accumulator.bins[bin];
    } else {
      seen.values.rare_exponents[power] = accumulator.bins[bin];
    }
  }
  if (accumulator.row_key != 0) seen.row_max_min = cuda::RowMaxOf(accumulator.row_key);
  return seen;
}

class CudaStats : public DeviceStats {
 public:
  explicit CudaStats(size_t slots)
      : slots_(slots),
        accumulators_(AllocateOnDevice<cuda::Accumulator>(slots)),
        on_host_(AllocatePinned<cuda::Accumulator>(slots)),
        meeting_(AllocateOnDevice<cuda::Meeting>(1)) {
    Require(cudaMemset(meeting_.get(), 0, sizeof(cuda::Meeting)), "clear memory");
  }

  /// ONNX Runtime's streams don't wait for the one that this uses, nor it for them.
  void BeginSample() override {
    Require(cudaDeviceSynchronize(), "finish what was queued");
    last_stream_ = nullptr;  // It goes with its session.
    Require(cudaMemset(accumulators_.get(), 0, slots_ * sizeof(cuda::Accumulator)), "clear memory");
    for (const auto& [slot, wide] : wide_)
      Require(cudaMemset(wide.get(), 0, cuda::kWideBins * sizeof(cuda::Count)), "clear memory");
    Require(cudaDeviceSynchronize(), "clear memory");
  }

  void Add(const Tap& tap, const std::optional<Rows>& rows) override {
    const auto stream = static_cast<cudaStream_t>(tap.stream);
    // Launches of two streams, as a body's might be, would meet in one place.
    if (stream != last_stream_) Require(cudaStreamSynchronize(last_stream_), "finish what was queued");
    last_stream_ = stream;
    if (tap.output != tap.input) {
      Require(cudaMemcpyAsync(tap.output, tap.input, tap.count * DTypeSize(tap.dtype),
                              cudaMemcpyDeviceToDevice, stream),
              "copy a tensor");
    }
    cuda::Accumulator* into = &accumulators_[static_cast<size_t>(tap.id)];
    cuda::Count* wide = tap.dtype == DType::kDouble ? WideBins(tap.id) : nullptr;
    Require(cuda::AddValues(tap.dtype, tap.input, tap.count, meeting_.get(), into, wide, stream),
            "start the statistics of a tensor");
    if (rows)
      Require(cuda::AddRows(static_cast<const float*>(tap.input), *rows, into, stream), "look at rows");
  }

  std::vector<DeviceSeen> Take(std::span<const int64_t> slots) override {
    Require(cudaDeviceSynchronize(), "take statistics of the tensors");
    Require(cudaMemcpy(on_host_.get(), accumulators_.get(), slots_ * sizeof(cuda::Accumulator),
                       cudaMemcpyDeviceToHost),
            "copy statistics to the host");
    std::vector<DeviceSeen> seen;
    for (const int64_t slot : slots) {
      seen.push_back(ToSeen(on_host_[static_cast<size_t>(slot)]));
      if (const auto wide = wide_.find(slot); wide != wide_.end()) AddWide(wide->second.get(), &seen.back());
    }
    return seen;
  }

 private:
  /// FP64 is rare: a slot gets its table when the first such tensor comes.
  cuda::Count* WideBins(int64_t slot) {
    DeviceMemory<cuda::Count>& bins = wide_[slot];
    if (bins == nullptr) {
      bins = AllocateOnDevice<cuda::Count>(cuda::kWideBins);
      Require(cudaMemset(bins.get(), 0, cuda::kWideBins * sizeof(cuda::Count)), "clear memory");
      Require(cudaDeviceSynchronize(), "clear memory");
    }
    return bins.get();
  }

  static void AddWide(const cuda::Count* bins, DeviceSeen* seen) {
    std::vector<cuda::Count> counts(cuda::kWideBins);
    Require(cudaMemcpy(counts.data(), bins, counts.size() * sizeof(cuda::Count), cudaMemcpyDeviceToHost),
            "copy statistics to the host");
    for (int bin = 0; bin < cuda::kWideBins; ++bin) {
      if (const uint64_t count = counts[static_cast<size_t>(bin)]; count > 0)
        seen->values.rare_exponents[bin + cuda::kLowestWidePower] += count;
    }
  }

  size_t slots_;
  DeviceMemory<cuda::Accumulator> accumulators_;  ///< By slot.
  PinnedMemory<cuda::Accumulator> on_host_;       ///< The same, once a sample has run.
  DeviceMemory<cuda::Meeting> meeting_;           ///< A session's stream runs one launch after the other.
  cudaStream_t last_stream_ = nullptr;            ///< Of the last launch.
  std::unordered_map<int64_t, DeviceMemory<cuda::Count>> wide_;  ///< By slot.
};

}  // namespace

std::unique_ptr<DeviceStats> OpenDeviceStats(size_t slots) {
  int devices = 0;
  const cudaError_t error = cudaGetDeviceCount(&devices);
  if (error != cudaSuccess) {
    throw Error(ExitCode::kUnavailable,
                fmt::format("no GPU that CUDA can use (docs/cuda.md): {}", cudaGetErrorString(error)));
  }
  return std::make_unique<CudaStats>(std::max<size_t>(slots, 1));
}

}  // namespace halfsafe
