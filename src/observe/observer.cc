#include "observe/observer.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "halfsafe/half.h"

namespace halfsafe {
namespace {

/// Adds 16-bit floats by way of a small FP32 buffer.
void AddSixteenBit(const uint16_t* values, size_t count, float (*value_of)(uint16_t), BlockStats* stats) {
  float buffer[1024];
  while (count > 0) {
    const size_t size = std::min(count, std::size(buffer));
    for (size_t i = 0; i < size; ++i) buffer[i] = value_of(values[i]);
    AddValues(buffer, size, stats);
    values += size;
    count -= size;
  }
}

void AddAny(DType dtype, const void* values, size_t begin, size_t count, BlockStats* stats) {
  switch (dtype) {
    case DType::kFloat:
      return AddValues(static_cast<const float*>(values) + begin, count, stats);
    case DType::kDouble:
      return AddValuesScalar(static_cast<const double*>(values) + begin, count, stats);
    case DType::kFloat16:
      return AddSixteenBit(static_cast<const uint16_t*>(values) + begin, count, HalfValue, stats);
    case DType::kBfloat16:
      return AddSixteenBit(static_cast<const uint16_t*>(values) + begin, count, Bfloat16Value, stats);
    default:
      break;
  }
}

double AbsMax(const BlockStats& values) {
  return values.finite == 0 ? 0.0 : std::max(std::fabs(values.min), std::fabs(values.max));
}

std::optional<double> Smaller(std::optional<double> a, std::optional<double> b) {
  return a && b ? std::min(*a, *b) : a ? a : b;
}

}  // namespace

BlockStats StatsOf(DType dtype, const void* values, size_t count, const Parallel& parallel) {
  BlockStats total;
  const size_t tasks = (count + kTaskValues - 1) / kTaskValues;
  if (tasks < 2 || !parallel) {
    for (size_t begin = 0; begin < count; begin += kTaskValues)
      AddAny(dtype, values, begin, std::min(kTaskValues, count - begin), &total);
    return total;
  }
  std::vector<BlockStats> parts(tasks);
  parallel(tasks, [&](size_t task) {
    const size_t begin = task * kTaskValues;
    AddAny(dtype, values, begin, std::min(kTaskValues, count - begin), &parts[task]);
  });
  for (const BlockStats& part : parts) total.Merge(part);
  return total;
}

TensorStats ToTensorStats(const BlockStats& block) {
  TensorStats stats;
  stats.count = block.finite;
  stats.nan_count = block.nan;
  stats.inf_count = block.inf;
  stats.overflow_count = block.overflow;
  stats.subnormal_count = block.subnormal;
  stats.min = block.min + 0.0;  // -0 and 0 are one: which of them came first must not show.
  stats.max = block.max + 0.0;
  stats.abs_max = AbsMax(block);
  stats.abs_sum = block.abs_sum;
  stats.exponents = block.rare_exponents;
  for (size_t biased = 0; biased < block.exponents.size(); ++biased) {
    if (block.exponents[biased] > 0)
      stats.exponents[static_cast<int>(biased) - 127] += block.exponents[biased];
  }
  return stats;
}

int64_t Observer::AddSlot(std::optional<RowAxis> rows) {
  slots_.emplace_back().rows = rows;
  return static_cast<int64_t>(slots_.size()) - 1;
}

void Observer::BeginSample(std::string name) {
  sample_ = std::move(name);
  for (const int64_t number : in_sample_) {
    Slot& slot = slots_[static_cast<size_t>(number)];
    slot.sample = {};
    slot.runs = 0;
    slot.on_device = false;
  }
  in_sample_.clear();
  if (device_) device_->BeginSample();
}

void Observer::Gather() {
  if (!device_) return;
  std::vector<int64_t> slots = in_sample_;
  std::erase_if(slots, [&](int64_t slot) { return !slots_[static_cast<size_t>(slot)].on_device; });
  const std::vector<DeviceSeen> seen = device_->Take(slots);
  for (size_t i = 0; i < slots.size(); ++i) {
    Seen& sample = slots_[static_cast<size_t>(slots[i])].sample;
    sample.values.Merge(seen[i].values);
    sample.abs_sum = std::max(sample.abs_sum, seen[i].abs_sum);
    sample.row_max_min = Smaller(sample.row_max_min, seen[i].row_max_min);
  }
}

void Observer::EndSample() {
  for (const int64_t number : in_sample_) EndSample(&slots_[static_cast<size_t>(number)]);
}

void Observer::EndSample(Slot* slot) const {
  const Seen& sample = slot->sample;
  if (sample.values.finite > 0) {
    const double abs_max = AbsMax(sample.values);
    if (abs_max > slot->abs_max || (abs_max == slot->abs_max && sample_ < slot->abs_max_sample)) {
      slot->abs_max = abs_max;
      slot->abs_max_sample = sample_;
    }
  }
  slot->all.values.Merge(sample.values);
  slot->all.abs_sum = std::max(slot->all.abs_sum, sample.abs_sum);
  slot->all.row_max_min = Smaller(slot->all.row_max_min, sample.row_max_min);
}

Observer::Slot& Observer::CountRun(int64_t number, uint64_t elements) {
  Slot& slot = slots_[static_cast<size_t>(number)];
  if (slot.runs++ == 0) {
    in_sample_.push_back(number);
    slot.elements = elements;
  } else if (slot.elements != elements) {
    slot.elements = 0;
  }
  return slot;
}

void Observer::AddRun(int64_t number, const BlockStats& values) {
  Slot& slot = CountRun(number, values.finite + values.nan + values.inf);
  slot.sample.values.Merge(values);
  slot.sample.abs_sum = std::max(slot.sample.abs_sum, values.abs_sum);
}

void Observer::ProcessOnDevice(const Tap& tap) {
  Slot& slot = CountRun(tap.id, tap.count);
  if (tap.count == 0) return;
  slot.on_device = true;
  const bool by_rows = slot.rows && tap.dtype == DType::kFloat;
  try {
    device_->Add(tap, by_rows ? std::optional(RowsAlong(*slot.rows, tap.shape)) : std::nullopt);
  } catch (...) {
    // ONNX Runtime will say that the sample failed, which it did not.
    if (!device_failure_) device_failure_ = std::current_exception();
    throw;
  }
}

void Observer::Process(const Tap& tap) {
  if (tap.on_device) return ProcessOnDevice(tap);
  if (tap.output != tap.input) std::memcpy(tap.output, tap.input, tap.count * DTypeSize(tap.dtype));
  AddRun(tap.id, StatsOf(tap.dtype, tap.input, tap.count, tap.parallel));
  Slot& slot = slots_[static_cast<size_t>(tap.id)];
  if (slot.rows && tap.dtype == DType::kFloat && tap.count > 0) {
    const Rows rows = RowsAlong(*slot.rows, tap.shape);
    slot.sample.row_max_min =
        Smaller(slot.sample.row_max_min, SmallestRowMax(static_cast<const float*>(tap.input), rows));
  }
}

/// Statistics of each task by itself, so that tasks share nothing.
class Observer::Sink : public BlockSink {
 public:
  Sink(Observer* observer, std::span<const int64_t> slots, size_t tasks)
      : observer_(observer), slots_(slots), parts_(slots.size() * std::max<size_t>(tasks, 1)) {}

  void Add(size_t task, size_t which, const float* values, size_t count) override {
    AddValues(values, count, &parts_[task * slots_.size() + which]);
  }

  void Finish() override {
    for (size_t which = 0; which < slots_.size(); ++which) {
      BlockStats& total = parts_[which];
      for (size_t part = which + slots_.size(); part < parts_.size(); part += slots_.size())
        total.Merge(parts_[part]);
      observer_->AddRun(slots_[which], total);
    }
  }

 private:
  Observer* observer_;
  std::span<const int64_t> slots_;
  std::vector<BlockStats> parts_;  ///< By task, then by tensor.
};

std::unique_ptr<BlockSink> Observer::Watch(std::span<const int64_t> slots, size_t tasks) {
  return std::make_unique<Sink>(this, slots, tasks);
}

void Observer::Add(int64_t slot, const Array& array) {
  AddRun(slot,
         StatsOf(array.dtype, array.bytes.data(), array.bytes.size() / DTypeSize(array.dtype), nullptr));
}

std::optional<SampleSums> Observer::InSample(int64_t slot_number) const {
  const Slot& slot = slots_[static_cast<size_t>(slot_number)];
  if (slot.runs == 0) return std::nullopt;
  return SampleSums{AbsMax(slot.sample.values), slot.sample.abs_sum, slot.elements};
}

void Observer::RethrowDeviceFailure() const {
  if (device_failure_) std::rethrow_exception(device_failure_);
}

TensorStats Observer::Result(int64_t slot_number) const {
  const Slot& slot = slots_[static_cast<size_t>(slot_number)];
  TensorStats stats = ToTensorStats(slot.all.values);
  stats.abs_max_sample = slot.abs_max_sample;
  stats.abs_sum = slot.all.abs_sum;
  // JSON has no infinity. A row that is -inf throughout is as masked as one of the lowest number; a row that
  // holds inf says as little as none.
  if (slot.all.row_max_min && *slot.all.row_max_min < INFINITY) {
    constexpr double kLowest = std::numeric_limits<float>::lowest();
    stats.row_max_min = std::max(*slot.all.row_max_min, kLowest) + 0.0;  // No -0, as with min and max.
  }
  return stats;
}

}  // namespace halfsafe
