#include "observe/observer.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>

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

/// The largest of `count` values, `stride` apart. NaN counts for nothing.
float LargestOf(const float* values, int64_t count, int64_t stride) {
  constexpr int64_t kLanes = 8;  // Comparisons that don't wait for each other.
  std::array<float, kLanes> largest;
  largest.fill(-INFINITY);
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    for (int64_t lane = 0; lane < kLanes; ++lane) {
      float& most = largest[static_cast<size_t>(lane)];
      most = std::max(most, values[(i + lane) * stride]);
    }
  }
  for (; i < count; ++i) largest[0] = std::max(largest[0], values[i * stride]);
  return *std::max_element(largest.begin(), largest.end());
}

/// The smallest over all rows of the largest value in the row.
double SmallestRowMax(const float* values, const std::vector<int64_t>& shape, const RowAxis& rows) {
  const int64_t rank = static_cast<int64_t>(shape.size());
  const int64_t axis = rows.axis < 0 ? rows.axis + rank : rows.axis;
  int64_t outer = 1, length = 1, inner = 1;
  for (int64_t i = 0; i < rank; ++i) {
    const int64_t dim = shape[static_cast<size_t>(i)];
    if (i < axis) {
      outer *= dim;
    } else if (i == axis || rows.to_the_end) {
      length *= dim;
    } else {
      inner *= dim;
    }
  }
  double smallest = INFINITY;
  for (int64_t o = 0; o < outer; ++o) {
    for (int64_t i = 0; i < inner; ++i) {
      const float* row = values + o * length * inner + i;
      smallest = std::min<double>(smallest, LargestOf(row, length, inner));
    }
  }
  return smallest;
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
  }
  in_sample_.clear();
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

void Observer::AddRun(int64_t number, const BlockStats& values) {
  Slot& slot = slots_[static_cast<size_t>(number)];
  const uint64_t elements = values.finite + values.nan + values.inf;
  if (slot.runs++ == 0) {
    in_sample_.push_back(number);
    slot.elements = elements;
  } else if (slot.elements != elements) {
    slot.elements = 0;
  }
  slot.sample.values.Merge(values);
  slot.sample.abs_sum = std::max(slot.sample.abs_sum, values.abs_sum);
}

void Observer::Process(const Tap& tap) {
  if (tap.output != tap.input) std::memcpy(tap.output, tap.input, tap.count * DTypeSize(tap.dtype));
  AddRun(tap.id, StatsOf(tap.dtype, tap.input, tap.count, tap.parallel));
  Slot& slot = slots_[static_cast<size_t>(tap.id)];
  if (slot.rows && tap.dtype == DType::kFloat && tap.count > 0) {
    slot.sample.row_max_min = Smaller(
        slot.sample.row_max_min, SmallestRowMax(static_cast<const float*>(tap.input), tap.shape, *slot.rows));
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

TensorStats Observer::Result(int64_t slot_number) const {
  const Slot& slot = slots_[static_cast<size_t>(slot_number)];
  TensorStats stats = ToTensorStats(slot.all.values);
  stats.abs_max_sample = slot.abs_max_sample;
  stats.abs_sum = slot.all.abs_sum;
  stats.row_max_min = slot.all.row_max_min;
  return stats;
}

}  // namespace halfsafe
