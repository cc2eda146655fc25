#pragma once

#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "observe/rows.h"
#include "observe/stats_kernel.h"
#include "runtime/tap.h"

/// The seam behind which CUDA stands: no type of it passes. cuda/ implements it; a build without CUDA has
/// device_stats_absent.cc.
namespace halfsafe {

/// What one tensor showed in one sample, in all runs of its node.
struct DeviceSeen {
  BlockStats values;
  double abs_sum = 0.0;  ///< The largest of a run.
  std::optional<double> row_max_min;
};

/// Statistics of tensors in a GPU's memory, taken and kept there. They are those that `AddValues` and
/// `SmallestRowMax` give, sums but for their rounding; and the same in every run.
class DeviceStats {
 public:
  virtual ~DeviceStats() = default;
  /// Forgets everything.
  virtual void BeginSample() = 0;
  /// Queues the statistics of a tensor of at least one value; its tap's id is its slot. Fills `tap.output`
  /// where that is not `tap.input`.
  virtual void Add(const Tap& tap, const std::optional<Rows>& rows) = 0;
  /// Waits for all that is queued, and brings what these slots have seen to the host, in one copy.
  virtual std::vector<DeviceSeen> Take(std::span<const int64_t> slots) = 0;
};

/// For slots 0 to `slots` - 1. Throws Error(kUnavailable) where this build has no CUDA, or the machine no
/// GPU.
std::unique_ptr<DeviceStats> OpenDeviceStats(size_t slots);

}  // namespace halfsafe
