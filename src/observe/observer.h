#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "halfsafe/ranges.h"
#include "observe/stats_kernel.h"
#include "observe/sum_bound.h"
#include "runtime/tap.h"

namespace halfsafe {

/// Which axis of a Softmax input its rows run along. Before opset 13 a row spans all axes from `axis` on.
struct RowAxis {
  int64_t axis = -1;
  bool to_the_end = false;
};

/// Collects statistics of tapped tensors. A slot is one tensor; its number is the tap's id.
class Observer : public TapHandler {
 public:
  /// Returns the new slot's number. With `rows`, the smallest row maximum is kept too.
  int64_t AddSlot(std::optional<RowAxis> rows = std::nullopt);
  /// Statistics from now on belong to the sample of this name.
  void BeginSample(std::string name) {
    sample_ = std::move(name);
    ++sample_number_;
  }

  void Process(const Tap& tap) override;
  std::unique_ptr<BlockSink> Watch(std::span<const int64_t> slots, size_t tasks) override;
  /// Adds values of a tensor that no tap sees: a graph input, a recorded tensor.
  void Add(int64_t slot, const Array& array);

  /// What the slot has seen of the current sample; nothing where that is nothing.
  std::optional<SampleSums> InSample(int64_t slot) const;
  /// What the slot has seen; name, dtype and constant are the caller's to fill.
  TensorStats Result(int64_t slot) const;

 private:
  struct Slot {
    BlockStats stats;
    double abs_max = -1.0;
    std::string abs_max_sample;
    double abs_sum = 0.0;
    SampleSums sums;           ///< Of the sample below.
    uint64_t last_sample = 0;  ///< The number of the last sample that was seen.
    std::optional<RowAxis> rows;
    std::optional<double> row_max_min;
  };
  class Sink;
  void AddCall(Slot* slot, const BlockStats& call);

  std::vector<Slot> slots_;
  std::string sample_;
  uint64_t sample_number_ = 0;
};

/// `stats` in the public form; name, dtype, constant and sample are the caller's to fill.
TensorStats ToTensorStats(const BlockStats& stats);

/// Statistics of `count` values of any float type; `parallel` (may be empty) runs pieces of large tensors.
BlockStats StatsOf(DType dtype, const void* values, size_t count, const Parallel& parallel);

}  // namespace halfsafe
