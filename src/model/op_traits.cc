#include "model/op_traits.h"

#include <algorithm>
#include <array>

#include "model/walk.h"

namespace halfsafe {
namespace {

constexpr OpTraits Permuted(std::string_view op) { return {.op_type = op, .values = Values::kPermuted}; }
constexpr OpTraits Selected(std::string_view op, Formula formula = Formula::kNone) {
  return {.op_type = op, .values = Values::kSelected, .formula = formula};
}
constexpr OpTraits Summed(std::string_view op, Sums sums) { return {.op_type = op, .sums = sums}; }
constexpr OpTraits Pole(std::string_view op, int input, Formula formula = Formula::kNone) {
  return {.op_type = op, .pole = input, .formula = formula};
}
constexpr OpTraits TypedByAttribute(std::string_view op) {
  return {.op_type = op, .type_by_attribute = true};
}
constexpr OpTraits ByElement(std::string_view op, Formula formula) {
  return {.op_type = op, .formula = formula};
}
constexpr OpTraits OnlyFp32(std::string_view op, Sums sums, std::string_view why) {
  return {.op_type = op, .sums = sums, .only_fp32 = why};
}

/// Sorted by name, which a test holds.
constexpr std::array kOpTraits = {
    Selected("Abs", Formula::kAbs),
    ByElement("Add", Formula::kAdd),
    Summed("AveragePool", Sums::kElements),
    ByElement("BatchNormalization", Formula::kBatchNormalization),
    TypedByAttribute("Bernoulli"),
    OnlyFp32("BitCast", Sums::kNone, "BitCast passes bits on, so the width of its type can't change"),
    TypedByAttribute("BlackmanWindow"),
    ByElement("Clip", Formula::kClip),
    Selected("Compress"),
    Selected("Concat"),
    Summed("Conv", Sums::kProducts),
    Summed("ConvTranspose", Sums::kProducts),
    Permuted("DepthToSpace"),
    Pole("Div", 1, Formula::kDiv),
    Summed("Einsum", Sums::kProducts),
    Selected("Expand"),
    TypedByAttribute("EyeLike"),
    Permuted("Flatten"),
    Selected("Gather"),
    Selected("GatherElements"),
    Selected("GatherND"),
    Summed("Gemm", Sums::kProducts),
    Summed("GlobalAveragePool", Sums::kElements),
    Summed("GlobalLpPool", Sums::kSquares),
    Selected("GlobalMaxPool"),
    Summed("GroupNormalization", Sums::kSquares),
    TypedByAttribute("HammingWindow"),
    TypedByAttribute("HannWindow"),
    ByElement("HardSigmoid", Formula::kHardSigmoid),
    Permuted("Identity"),
    Summed("InstanceNormalization", Sums::kSquares),
    Summed("LayerNormalization", Sums::kSquares),
    Pole("Log", 0),
    Summed("LpNormalization", Sums::kSquares),
    Summed("LpPool", Sums::kSquares),
    Summed("MatMul", Sums::kProducts),
    Selected("Max", Formula::kMax),
    Selected("MaxPool"),
    Summed("Mean", Sums::kElements),
    OnlyFp32("MeanVarianceNormalization", Sums::kSquares,
             "ONNX defines MeanVarianceNormalization by a function with an FP32 constant, so its FP16 form "
             "fails type inference"),
    TypedByAttribute("MelWeightMatrix"),
    Selected("Min", Formula::kMin),
    ByElement("Mul", Formula::kMul),
    Selected("Neg", Formula::kNeg),
    ByElement("Pow", Formula::kPow),
    Summed("RMSNormalization", Sums::kSquares),
    TypedByAttribute("RandomNormal"),
    TypedByAttribute("RandomNormalLike"),
    TypedByAttribute("RandomUniform"),
    TypedByAttribute("RandomUniformLike"),
    Pole("Reciprocal", 0, Formula::kReciprocal),
    Summed("ReduceL1", Sums::kElements),
    Summed("ReduceL2", Sums::kSquares),
    Summed("ReduceLogSum", Sums::kElements),
    Selected("ReduceMax"),
    Summed("ReduceMean", Sums::kElements),
    Selected("ReduceMin"),
    Summed("ReduceSum", Sums::kElements),
    Summed("ReduceSumSquare", Sums::kSquares),
    Selected("Relu", Formula::kRelu),
    Permuted("Reshape"),
    Selected("ReverseSequence"),
    TypedByAttribute("SequenceEmpty"),
    Selected("Slice"),
    Permuted("SpaceToDepth"),
    Selected("Split"),
    ByElement("Sqrt", Formula::kSqrt),
    Permuted("Squeeze"),
    ByElement("Sub", Formula::kSub),
    Summed("Sum", Sums::kElements),
    Selected("Tile"),
    Selected("TopK"),
    Permuted("Transpose"),
    Permuted("Unsqueeze"),
    Selected("Where"),
};

}  // namespace

std::span<const OpTraits> OpTraitsTable() { return kOpTraits; }

const OpTraits& TraitsOf(const onnx::NodeProto& node) {
  static constexpr OpTraits kDefaults;
  if (!IsStandard(node.domain())) return kDefaults;
  const auto found =
      std::lower_bound(kOpTraits.begin(), kOpTraits.end(), node.op_type(),
                       [](const OpTraits& row, const std::string& name) { return row.op_type < name; });
  return found != kOpTraits.end() && found->op_type == node.op_type() ? *found : kDefaults;
}

}  // namespace halfsafe
