#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "halfsafe/check.h"
#include "runtime/outputs.h"

namespace halfsafe {

/// What stands beside what in one output, as far as the graph shows it.
struct OutputLayout {
  /// An operand of a Concat.
  struct Piece {
    IndexRange range;
    bool squashed = false;  ///< A function brought its values between -1 and 1.
    bool operator==(const Piece&) const = default;
  };
  int axis = -1;              ///< Along which the pieces lie; -1 where no Concat shows any.
  std::vector<Piece> pieces;  ///< In their order.
  std::string concat;         ///< The Concat node.
  int channels = -1;          ///< The axis of what was computed apart: a filter's or a weight column's.
  bool one_scale = false;     ///< The writer puts all values on one scale (OpTraits::one_scale).
  bool squashed = false;      ///< Between -1 and 1.
};

/// Follows an output of `model` back through operators that only move values.
OutputLayout LayoutOf(const Model& model, const std::string& output);

/// Finds what the outputs of a model are judged by (OutputRule), from the graph and from what FP32 gives.
class RuleFinder {
 public:
  explicit RuleFinder(const Model& original);

  /// Adds what FP32 gave for one sample, one view an output, in the model's order.
  void Add(const std::vector<OutputView>& outputs);
  /// One rule an output, in the model's order.
  std::vector<OutputRule> Rules() const;

 private:
  /// A rule that may be the output's, and the largest sum of squares in a sample of each of its slots.
  struct Choice {
    OutputRule rule;
    std::vector<double> largest;
  };
  struct Output {
    std::string name;
    OutputLayout layout;
    bool told_apart = true;      ///< Always one floating-point tensor.
    std::vector<int64_t> shape;  ///< In the first sample.
    std::vector<Choice> choices;
  };

  static double GapOfParts(const Output& output, Choice* choice);
  static void Add(const OutputView& view, Output* output);
  static std::vector<OutputRule> Choices(const Output& output, const std::vector<int64_t>& shape);
  static Choice ToldApart(const Choice& choice, double* gap);
  static OutputRule RuleOf(const Output& output);

  std::vector<Output> outputs_;
};

/// For each element of a tensor of this shape, in C order and from the first on again, the slot that it
/// belongs to: part * extent(index_axis) + index. kNoSlot for what is in no part. Empty where the rule has no
/// parts, or is for another shape.
std::vector<uint32_t> SlotsOf(const OutputRule& rule, const std::vector<int64_t>& shape);
inline constexpr uint32_t kNoSlot = UINT32_MAX;
/// How many slots there are in a tensor of this shape.
size_t SlotCount(const OutputRule& rule, const std::vector<int64_t>& shape);
/// The sum of squares in each slot, without what is not finite. `tensor` has a shape that `rule` is for.
std::vector<double> SumsOfSquares(const TensorView& tensor, const OutputRule& rule);

}  // namespace halfsafe
