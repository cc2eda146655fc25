#include "verify/compare.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "data/array.h"
#include "halfsafe/half.h"
#include "verify/draws.h"
#include "verify/output_rules.h"

namespace halfsafe {
namespace {

/// A tolerance or a norm that is zero: distances from it are large, and not infinite.
constexpr double kSmallest = 1e-12;
/// How many times further off than the whole a single index may be. What sums leave in single values spreads:
/// the largest of thousands lies four to five times past their mean.
constexpr double kIndexRoom = 5.0;
/// What is a smaller share of the largest is judged by this share of it.
constexpr double kLeastShare = 0.1;

/// A mask is this many times larger than what stands beside it.
constexpr double kFarFromMask = 100.0;

/// Sums over one sample's output, all tensors of a sequence together.
struct OutputSums {
  double difference2 = 0.0, reference2 = 0.0, output2 = 0.0, dot = 0.0, difference = 0.0;
  double max_abs = 0.0, max_reference = 0.0, needed_atol = 0.0;
  uint64_t compared = 0, new_nonfinite = 0, changed_nonfinite = 0;
  bool masked = false;                                       ///< Some values are a mask's (MaskedBelow).
  double beside_difference2 = 0.0, beside_reference2 = 0.0;  ///< Of all others then.
};

/// Squares of what one slot of a rule holds.
struct SlotSums {
  double difference2 = 0.0, reference2 = 0.0;
};

void AddTensor(const TensorView& reference, const TensorView& output, double rtol,
               const std::vector<uint32_t>& slots, OutputSums* total, std::vector<SlotSums>* by_slot) {
  OutputSums& sums = *total;
  const double masked = MaskedBelow(reference);
  for (size_t i = 0; i < reference.count; ++i) {
    const double expected = ValueAt(reference, i);
    const double got = ValueAt(output, i);
    if (!std::isfinite(expected)) {
      const bool same = std::isnan(expected) ? std::isnan(got) : expected == got;
      sums.changed_nonfinite += same ? 0 : 1;
      continue;
    }
    if (!std::isfinite(got)) {
      ++sums.new_nonfinite;
      continue;
    }
    const double difference = std::fabs(got - expected);
    ++sums.compared;
    sums.difference2 += difference * difference;
    sums.reference2 += expected * expected;
    sums.output2 += got * got;
    sums.dot += expected * got;
    sums.difference += difference;
    sums.max_abs = std::max(sums.max_abs, difference);
    sums.max_reference = std::max(sums.max_reference, std::fabs(expected));
    sums.needed_atol = std::max(sums.needed_atol, difference - rtol * std::fabs(expected));
    if (expected <= masked) {
      sums.masked = true;
      continue;
    }
    sums.beside_difference2 += difference * difference;
    sums.beside_reference2 += expected * expected;
    const uint32_t slot = slots.empty() ? kNoSlot : slots[i % slots.size()];
    if (slot == kNoSlot) continue;
    (*by_slot)[slot].difference2 += difference * difference;
    (*by_slot)[slot].reference2 += expected * expected;
  }
}

/// The indices of an output as numpy writes them: along `axis` those of `ranges`, and everything along
/// others.
std::string Where(const std::string& output, size_t rank, int axis, const std::vector<IndexRange>& ranges) {
  std::vector<std::string> texts;
  for (const IndexRange& range : ranges) {
    texts.push_back(range.end - range.begin == 1 ? fmt::format("{}", range.begin)
                                                 : fmt::format("{}:{}", range.begin, range.end));
  }
  std::vector<std::string> all(rank, ":");
  all[static_cast<size_t>(axis)] =
      texts.size() == 1 ? texts.front() : fmt::format("[{}]", fmt::join(texts, ", "));
  return fmt::format("{}[{}]", output, fmt::join(all, ", "));
}

/// Judges the parts of an output, and single indices of theirs, by what FP32 has there and elsewhere.
class PartJudge {
 public:
  PartJudge(const OutputRule& rule, double tolerance, size_t rank, const std::string& sample)
      : rule_(rule), tolerance_(tolerance), rank_(rank), sample_(sample) {}

  void Judge(const std::vector<SlotSums>& slots, Difference* difference) {
    const size_t indices = slots.size() / rule_.parts.size();
    for (size_t i = 0; i < rule_.parts.size(); ++i) {
      const OutputPart& part = rule_.parts[i];
      SlotSums all;
      for (size_t index = 0; index < indices; ++index) {
        const SlotSums& slot = slots[i * indices + index];
        all.difference2 += slot.difference2;
        all.reference2 += slot.reference2;
        const auto at = static_cast<int64_t>(index);
        Look(slot, part.largest_index, kIndexRoom, rule_.index_axis, {{at, at + 1}}, difference);
      }
      if (rule_.parts.size() > 1) Look(all, part.largest, 1.0, rule_.axis, part.ranges, difference);
    }
  }

 private:
  void Look(const SlotSums& sums, double largest, double room, int axis,
            const std::vector<IndexRange>& ranges, Difference* difference) const {
    // What FP32 never shows has no scale.
    if (largest == 0.0) return;
    const double error = std::sqrt(sums.difference2), reference = std::sqrt(sums.reference2);
    const double allowed = room * tolerance_ * std::max(reference, kLeastShare * largest);
    const double distance = error / std::max(allowed, kSmallest * largest);
    std::optional<PartError>& worst = difference->worst_part;
    if (worst && distance * worst->allowed <= worst->error) return;
    worst = {Where(rule_.output, rank_, axis, ranges), error, reference, allowed, sample_};
    difference->distance = std::max(difference->distance, distance);
  }

  const OutputRule& rule_;
  const double tolerance_;
  const size_t rank_;
  const std::string& sample_;
};

/// Judges what stands beside the values of a mask, whose norm hides all others.
void JudgeBesideMask(const OutputSums& sums, double tolerance, const std::string& sample,
                     const OutputRule* rule, Difference* difference) {
  const double error = std::sqrt(sums.beside_difference2), reference = std::sqrt(sums.beside_reference2);
  if (reference == 0.0) return;
  const double allowed = tolerance * reference, distance = error / std::max(allowed, kSmallest * reference);
  if (distance <= difference->distance) return;
  difference->distance = distance;
  difference->worst_part = {fmt::format("{} beside its mask", rule != nullptr ? rule->output : "output"),
                            error, reference, allowed, sample};
}

void CompareFloats(const OutputView& reference, const OutputView& output, const std::string& sample,
                   const Tolerance& tolerance, const OutputRule* rule, Difference* difference) {
  OutputSums sums;
  std::vector<uint32_t> slots;
  std::vector<SlotSums> by_slot;
  if (rule != nullptr && !reference.sequence) {
    slots = SlotsOf(*rule, reference.tensors.front().shape);
    if (!slots.empty()) by_slot.resize(SlotCount(*rule, reference.tensors.front().shape));
  }
  for (size_t i = 0; i < reference.tensors.size(); ++i)
    AddTensor(reference.tensors[i], output.tensors[i], tolerance.rtol.value_or(0.0), slots, &sums, &by_slot);
  // An output that is all zero in FP32 has no relative error; any difference counts as a whole.
  double rel_l2 = sums.reference2 > 0.0    ? std::sqrt(sums.difference2 / sums.reference2)
                  : sums.difference2 > 0.0 ? 1.0
                                           : 0.0;
  // Squares of FP64 past 1e154 are infinite.
  if (std::isnan(rel_l2)) rel_l2 = sums.max_abs / sums.max_reference;
  if (sums.new_nonfinite > 0) rel_l2 = INFINITY;
  difference->compared = sums.compared + sums.new_nonfinite;
  difference->rel_l2 = rel_l2;
  difference->new_nonfinite = sums.new_nonfinite;
  difference->max_abs = sums.max_abs;
  if (sums.max_reference > 0.0) difference->max_rel = sums.max_abs / sums.max_reference;
  if (sums.compared > 0) difference->mean_abs = sums.difference / static_cast<double>(sums.compared);
  if (sums.reference2 > 0.0 && sums.output2 > 0.0)
    difference->cosine = sums.dot / std::sqrt(sums.reference2) / std::sqrt(sums.output2);
  difference->needed_atol = sums.needed_atol;
  if (!by_slot.empty())
    PartJudge(*rule, tolerance.rel_l2, reference.tensors.front().shape.size(), sample)
        .Judge(by_slot, difference);
  difference->distance = std::max(difference->distance, rel_l2 / std::max(tolerance.rel_l2, kSmallest));
  if (sums.masked) JudgeBesideMask(sums, tolerance.rel_l2, sample, rule, difference);
  if (tolerance.rtol || tolerance.atol) {
    const double atol = std::max(tolerance.atol.value_or(0.0), kSmallest);
    difference->distance = std::max(difference->distance, sums.needed_atol / atol);
  }
  if (sums.changed_nonfinite == 0) return;
  difference->distance = INFINITY;
  difference->problem = fmt::format("{} values that are not finite in FP32 are others here, in sample {}",
                                    sums.changed_nonfinite, sample);
}

/// Elements that differ; of those that are packed into bytes, the bytes.
uint64_t CountFlips(const TensorView& reference, const TensorView& output) {
  uint64_t flips = 0;
  const auto* expected = static_cast<const std::byte*>(reference.data);
  const auto* found = static_cast<const std::byte*>(output.data);
  if (reference.dtype == DType::kString) {
    const auto one = StringsOf({expected, reference.size}), other = StringsOf({found, output.size});
    for (size_t i = 0; i < one.size(); ++i) flips += i < other.size() && one[i] == other[i] ? 0 : 1;
    return flips;
  }
  const size_t size = std::max<size_t>(DTypeSize(reference.dtype), 1);
  for (size_t at = 0; at < reference.size; at += size)
    flips += std::memcmp(expected + at, found + at, size) != 0 ? 1 : 0;
  return flips;
}

void CompareExactly(const OutputView& reference, const OutputView& output, const Tolerance& tolerance,
                    Difference* difference) {
  difference->compared = difference->count;
  for (size_t i = 0; i < reference.tensors.size(); ++i)
    difference->flips += CountFlips(reference.tensors[i], output.tensors[i]);
  if (difference->flips == 0) return;
  difference->flip_share = static_cast<double>(difference->flips) / static_cast<double>(difference->count);
  difference->distance = difference->flip_share / std::max(tolerance.max_flips, kSmallest);
}

std::string Describe(const OutputView& view) {
  return view.sequence ? fmt::format("a sequence of {}", view.tensors.size()) : "a tensor";
}

std::string Describe(const TensorView& view) {
  return fmt::format("{} {}", DTypeName(view.dtype), ShapeText(view.shape));
}

/// Why the two can't be compared value by value; empty where they can.
std::string Mismatch(const OutputView& reference, const OutputView& output, const std::string& sample) {
  if (reference.sequence != output.sequence || reference.tensors.size() != output.tensors.size())
    return fmt::format("{} in sample {}, {} in FP32", Describe(output), sample, Describe(reference));
  for (size_t i = 0; i < reference.tensors.size(); ++i) {
    const TensorView &expected = reference.tensors[i], &found = output.tensors[i];
    const bool floats = IsFloat(expected.dtype) && IsFloat(found.dtype);
    if (expected.shape == found.shape && (expected.dtype == found.dtype || floats)) continue;
    return fmt::format("{}{} in sample {}, {} in FP32",
                       reference.sequence ? fmt::format("element {}: ", i) : "", Describe(found), sample,
                       Describe(expected));
  }
  return "";
}

bool Right(double distance) { return distance <= 1.0; }

bool Uncompared(const OutputError& output) { return output.count > 0 && output.compared == 0; }

}  // namespace

double ValueAt(const TensorView& view, size_t i) {
  switch (view.dtype) {
    case DType::kFloat:
      return static_cast<const float*>(view.data)[i];
    case DType::kDouble:
      return static_cast<const double*>(view.data)[i];
    case DType::kFloat16:
      return HalfValue(static_cast<const uint16_t*>(view.data)[i]);
    default:
      return Bfloat16Value(static_cast<const uint16_t*>(view.data)[i]);
  }
}

double MaskedBelow(const TensorView& view) {
  constexpr double kMask = -32768.0;
  double lowest = 0.0, highest = -INFINITY, largest_other = 0.0;
  for (size_t i = 0; i < view.count; ++i) {
    const double value = ValueAt(view, i);
    if (!std::isfinite(value)) continue;
    if (value <= kMask) {
      lowest = std::min(lowest, value);
      highest = std::max(highest, value);
    } else {
      largest_other = std::max(largest_other, std::fabs(value));
    }
  }
  // One number, but for what it was added to, and far from all others.
  const bool mask = lowest >= 2.0 * highest && largest_other * kFarFromMask < -highest;
  return std::isfinite(highest) && mask ? kMask : -INFINITY;
}

Difference CompareOutput(const OutputView& reference, const OutputView& output, const std::string& sample,
                         const Tolerance& tolerance, const OutputRule* rule) {
  Difference difference;
  for (const TensorView& tensor : reference.tensors) {
    difference.count += tensor.count;
    difference.dtype = tensor.dtype;
  }
  if (std::string problem = Mismatch(reference, output, sample); !problem.empty()) {
    difference.problem = std::move(problem);
    difference.compared = difference.count;
    difference.distance = difference.rel_l2 = difference.max_abs = difference.max_rel = difference.mean_abs =
        difference.needed_atol = INFINITY;
    difference.cosine = NAN;
    difference.flips = difference.count;
    difference.flip_share = 1.0;
    return difference;
  }
  if (IsFloat(difference.dtype)) {
    CompareFloats(reference, output, sample, tolerance, rule, &difference);
  } else {
    CompareExactly(reference, output, tolerance, &difference);
  }
  return difference;
}

SampleError AddSample(const std::vector<Difference>& draws, const std::string& sample, OutputError* error) {
  const Difference& nearest = draws.front();
  std::vector<double> distances;
  for (const Difference& draw : draws) {
    distances.push_back(draw.distance);
    error->worst_draw = std::max(error->worst_draw, draw.distance);
    error->on_edge = error->on_edge || Right(draw.distance) != Right(nearest.distance);
    const auto past = [](const PartError& part) { return part.error / part.allowed; };
    if (draw.worst_part && (!error->worst_part || past(*draw.worst_part) > past(*error->worst_part)))
      error->worst_part = draw.worst_part;
  }
  // What counts or chooses is judged rounded to the nearest: a single flip among draws would be all of their
  // mean.
  const double distance = IsFloat(nearest.dtype) ? RootMeanSquare(distances) : nearest.distance;
  if (error->distance_sample.empty() || distance > error->distance) {
    error->distance = distance;
    error->distance_sample = sample;
    error->draws = draws.size();
  }
  error->dtype = nearest.dtype;
  error->count += nearest.count;
  error->compared += nearest.compared;
  error->rel_l2 = std::max(error->rel_l2, nearest.rel_l2);
  error->max_abs = std::max(error->max_abs, nearest.max_abs);
  error->max_rel = std::max(error->max_rel, nearest.max_rel);
  error->mean_abs = std::max(error->mean_abs, nearest.mean_abs);
  error->needed_atol = std::max(error->needed_atol, nearest.needed_atol);
  if (nearest.cosine < error->cosine || std::isnan(nearest.cosine)) error->cosine = nearest.cosine;
  error->new_nonfinite += nearest.new_nonfinite;
  error->flips += nearest.flips;
  error->flip_share = std::max(error->flip_share, nearest.flip_share);
  if (!nearest.problem.empty()) error->problem = nearest.problem;
  error->right = error->right && Right(distance);
  return {sample,        distance,           nearest.rel_l2, nearest.max_abs, nearest.new_nonfinite,
          nearest.flips, nearest.flip_share, Right(distance)};
}

void RequireCompared(ModelErrors* errors) {
  for (OutputError& output : errors->outputs) {
    if (!Uncompared(output)) continue;
    output.problem = "no finite value in FP32 to compare with";
    output.distance = output.worst_draw = INFINITY;
    output.right = errors->right = false;
  }
}

bool NothingToCompare(const ModelErrors& errors) { return std::ranges::any_of(errors.outputs, Uncompared); }

}  // namespace halfsafe
