#include "model/op_traits.h"

#include <algorithm>
#include <array>

namespace halfsafe {
namespace {

constexpr OpTraits Permuted(std::string_view op) {
  return {op, Values::kPermuted, Sums::kNone, -1, false, ""};
}
constexpr OpTraits Selected(std::string_view op) {
  return {op, Values::kSelected, Sums::kNone, -1, false, ""};
}
constexpr OpTraits Summed(std::string_view op, Sums sums) { return {op, Values::kNew, sums, -1, false, ""}; }
constexpr OpTraits Pole(std::string_view op, int input) {
  return {op, Values::kNew, Sums::kNone, input, false, ""};
}
constexpr OpTraits TypedByAttribute(std::string_view op) {
  return {op, Values::kNew, Sums::kNone, -1, true, ""};
}

/// Sorted by name, which a test holds.
constexpr std::array kTable = {
    Selected("Abs"),
    Summed("AveragePool", Sums::kElements),
    TypedByAttribute("Bernoulli"),
    OpTraits{"BitCast", Values::kNew, Sums::kNone, -1, false,
             "BitCast passes bits on, so the width of its type can't change"},
    TypedByAttribute("BlackmanWindow"),
    Selected("Compress"),
    Selected("Concat"),
    Summed("Conv", Sums::kProducts),
    Summed("ConvTranspose", Sums::kProducts),
    Permuted("DepthToSpace"),
    Pole("Div", 1),
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
    Permuted("Identity"),
    Summed("InstanceNormalization", Sums::kSquares),
    Summed("LayerNormalization", Sums::kSquares),
    Pole("Log", 0),
    Summed("LpNormalization", Sums::kSquares),
    Summed("LpPool", Sums::kSquares),
    Summed("MatMul", Sums::kProducts),
    Selected("Max"),
    Selected("MaxPool"),
    Summed("Mean", Sums::kElements),
    OpTraits{"MeanVarianceNormalization", Values::kNew, Sums::kSquares, -1, false,
             "ONNX defines MeanVarianceNormalization by a function with an FP32 constant, so its FP16 form "
             "fails type inference"},
    TypedByAttribute("MelWeightMatrix"),
    Selected("Min"),
    Selected("Neg"),
    Summed("RMSNormalization", Sums::kSquares),
    TypedByAttribute("RandomNormal"),
    TypedByAttribute("RandomNormalLike"),
    TypedByAttribute("RandomUniform"),
    TypedByAttribute("RandomUniformLike"),
    Pole("Reciprocal", 0),
    Summed("ReduceL1", Sums::kElements),
    Summed("ReduceL2", Sums::kSquares),
    Summed("ReduceLogSum", Sums::kElements),
    Selected("ReduceMax"),
    Summed("ReduceMean", Sums::kElements),
    Selected("ReduceMin"),
    Summed("ReduceSum", Sums::kElements),
    Summed("ReduceSumSquare", Sums::kSquares),
    Selected("Relu"),
    Permuted("Reshape"),
    Selected("ReverseSequence"),
    TypedByAttribute("SequenceEmpty"),
    Selected("Slice"),
    Permuted("SpaceToDepth"),
    Selected("Split"),
    Permuted("Squeeze"),
    Summed("Sum", Sums::kElements),
    Selected("Tile"),
    Selected("TopK"),
    Permuted("Transpose"),
    Permuted("Unsqueeze"),
    Selected("Where"),
};

}  // namespace

std::span<const OpTraits> OpTraitsTable() { return kTable; }

const OpTraits& TraitsOf(const onnx::NodeProto& node) {
  static constexpr OpTraits kDefaults;
  if (!node.domain().empty() && node.domain() != "ai.onnx") return kDefaults;
  const auto found =
      std::lower_bound(kTable.begin(), kTable.end(), node.op_type(),
                       [](const OpTraits& row, const std::string& name) { return row.op_type < name; });
  return found != kTable.end() && found->op_type == node.op_type() ? *found : kDefaults;
}

}  // namespace halfsafe
