#pragma once

#include <exception>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "halfsafe/ranges.h"
#include "observe/device_stats.h"
#include "observe/rows.h"
#include "observe/stats_kernel.h"
#include "observe/sum_bound.h"
#include "runtime/tap.h"

namespace halfsafe {

/// Collects statistics of tapped tensors. A slot is one tensor; its number is the tap's id. What a sample
/// shows counts once the sample has ended well.
class Observer : public TapHandler {
 public:
  /// Returns the new slot's number. With `rows`, the smallest row maximum is kept too.
  int64_t AddSlot(std::optional<RowAxis> rows = std::nullopt);
  size_t slots() const { return slots_.size(); }
  /// Takes statistics of tensors that lie in a GPU's memory there. No slot is added afterwards.
  void UseDevice(std::unique_ptr<DeviceStats> device) { device_ = std::move(device); }
  /// Statistics from now on belong to the sample of this name; those of a sample that did not end are
  /// dropped.
  void BeginSample(std::string name);
  /// The current sample has run: takes over what the device has seen of it.
  void Gather();
  /// The current sample is complete.
  void EndSample();

  void Process(const Tap& tap) override;
  std::unique_ptr<BlockSink> Watch(std::span<const int64_t> slots, size_t tasks) override;
  /// Adds values of a tensor that no tap sees: a graph input, a recorded tensor.
  void Add(int64_t slot, const Array& array);

  /// Throws what went wrong on the device, if anything did: no sample's fault.
  void RethrowDeviceFailure() const;

  /// What the slot has seen of the current sample; nothing where that is nothing.
  std::optional<SampleSums> InSample(int64_t slot) const;
  /// What the slot has seen of all samples that ended; name, dtype and constant are the caller's to fill.
  TensorStats Result(int64_t slot) const;

 private:
  /// What one tensor showed in one sample, or in all.
  struct Seen {
    BlockStats values;
    double abs_sum = 0.0;  ///< The largest of a run of the tensor's node.
    std::optional<double> row_max_min;
  };
  struct Slot {
    std::optional<RowAxis> rows;
    Seen sample, all;
    uint64_t runs = 0;       ///< In this sample: a body's node may run several times.
    uint64_t elements = 0;   ///< Of each run in this sample; 0 where they differ.
    bool on_device = false;  ///< Some of these runs were on the device.
    double abs_max = -1.0;
    std::string abs_max_sample;
  };
  class Sink;
  Slot& CountRun(int64_t slot, uint64_t elements);
  void AddRun(int64_t slot, const BlockStats& values);
  void ProcessOnDevice(const Tap& tap);
  void EndSample(Slot* slot) const;

  std::vector<Slot> slots_;
  std::vector<int64_t> in_sample_;  ///< The slots that the current sample has reached.
  std::string sample_;
  std::exception_ptr device_failure_;
  std::unique_ptr<DeviceStats> device_;
};

/// `stats` in the public form; name, dtype, constant and sample are the caller's to fill.
TensorStats ToTensorStats(const BlockStats& stats);

/// Statistics of `count` values of any float type; `parallel` (may be empty) runs pieces of large tensors.
BlockStats StatsOf(DType dtype, const void* values, size_t count, const Parallel& parallel);

}  // namespace halfsafe
