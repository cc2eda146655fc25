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
/// Sums that overflow on the way are looked for.
constexpr OpTraits Dot(std::string_view op, Products products) {
  return {.op_type = op, .sums = Sums::kProducts, .products = products};
}
constexpr OpTraits Multiplied(std::string_view op, Products products, int weights = 1) {
  return {.op_type = op, .products = products, .weights = weights};
}
constexpr OpTraits Pole(std::string_view op, int input, Formula formula = Formula::kNone) {
  return {.op_type = op, .pole = input, .formula = formula};
}
constexpr OpTraits TypedByAttribute(std::string_view op) {
  return {.op_type = op, .type_by_attribute = true};
}
constexpr OpTraits ByElement(std::string_view op, Formula formula) {
  return {.op_type = op, .formula = formula};
}
/// Norms and what squashes values.
constexpr OpTraits OneScale(std::string_view op, Sums sums = Sums::kNone, Formula formula = Formula::kNone) {
  return {.op_type = op, .sums = sums, .formula = formula, .one_scale = true};
}
constexpr OpTraits OnlyFp32(std::string_view op, Sums sums, std::string_view why) {
  return {.op_type = op, .sums = sums, .only_fp32 = why};
}

/// Sorted by name, which a test holds.
constexpr std::array kOpTraits = {
    Selected("Abs", Formula::kAbs),
    ByElement("Add", Formula::kAdd),
    Multiplied("Attention", Products::kAttention),
    Summed("AveragePool", Sums::kElements),
    ByElement("BatchNormalization", Formula::kBatchNormalization),
    TypedByAttribute("Bernoulli"),
    OnlyFp32("BitCast", Sums::kNone, "BitCast passes bits on, so the width of its type can't change"),
    TypedByAttribute("BlackmanWindow"),
    ByElement("Clip", Formula::kClip),
    Selected("Compress"),
    Selected("Concat"),
    Dot("Conv", Products::kConv),
    Multiplied("ConvInteger", Products::kConv),
    Dot("ConvTranspose", Products::kConvTranspose),
    Multiplied("DFT", Products::kTransform),
    Multiplied("DeformConv", Products::kConv),
    Permuted("DepthToSpace"),
    Pole("Div", 1, Formula::kDiv),
    Dot("Einsum", Products::kEinsum),
    Selected("Expand"),
    TypedByAttribute("EyeLike"),
    Permuted("Flatten"),
    Multiplied("GRU", Products::kRecurrent),
    Selected("Gather"),
    Selected("GatherElements"),
    Selected("GatherND"),
    Dot("Gemm", Products::kGemm),
    Summed("GlobalAveragePool", Sums::kElements),
    Summed("GlobalLpPool", Sums::kSquares),
    Selected("GlobalMaxPool"),
    OneScale("GroupNormalization", Sums::kSquares),
    TypedByAttribute("HammingWindow"),
    TypedByAttribute("HannWindow"),
    OneScale("HardSigmoid", Sums::kNone, Formula::kHardSigmoid),
    Permuted("Identity"),
    OneScale("InstanceNormalization", Sums::kSquares),
    Multiplied("LSTM", Products::kRecurrent),
    OneScale("LayerNormalization", Sums::kSquares),
    Pole("Log", 0),
    OneScale("LogSoftmax"),
    OneScale("LpNormalization", Sums::kSquares),
    Summed("LpPool", Sums::kSquares),
    Dot("MatMul", Products::kMatMul),
    Multiplied("MatMulInteger", Products::kMatMul),
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
    Multiplied("QLinearConv", Products::kConv, 3),
    Multiplied("QLinearMatMul", Products::kMatMul, 3),
    OneScale("RMSNormalization", Sums::kSquares),
    Multiplied("RNN", Products::kRecurrent),
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
    Multiplied("STFT", Products::kUncounted),
    TypedByAttribute("SequenceEmpty"),
    OneScale("Sigmoid"),
    Selected("Slice"),
    OneScale("Softmax"),
    Permuted("SpaceToDepth"),
    Selected("Split"),
    ByElement("Sqrt", Formula::kSqrt),
    Permuted("Squeeze"),
    ByElement("Sub", Formula::kSub),
    Summed("Sum", Sums::kElements),
    OneScale("Tanh"),
    Selected("Tile"),
    Selected("TopK"),
    Permuted("Transpose"),
    Permuted("Unsqueeze"),
    Selected("Where"),
    Multiplied("com.microsoft.Attention", Products::kUncounted),
    Multiplied("com.microsoft.AttnLSTM", Products::kUncounted),
    Multiplied("com.microsoft.ConvTransposeWithDynamicPads", Products::kUncounted),
    Multiplied("com.microsoft.DecoderAttention", Products::kUncounted),
    Multiplied("com.microsoft.DecoderMaskedMultiHeadAttention", Products::kUncounted),
    Multiplied("com.microsoft.DecoderMaskedSelfAttention", Products::kUncounted),
    Multiplied("com.microsoft.DynamicQuantizeLSTM", Products::kUncounted),
    Multiplied("com.microsoft.DynamicQuantizeMatMul", Products::kMatMul),
    Multiplied("com.microsoft.DynamicSparseAttention", Products::kUncounted),
    Multiplied("com.microsoft.FusedConv", Products::kConv),
    Multiplied("com.microsoft.FusedGemm", Products::kGemm),
    Multiplied("com.microsoft.FusedMatMul", Products::kMatMul),
    Multiplied("com.microsoft.FusedMatMulActivation", Products::kMatMul),
    Multiplied("com.microsoft.GemmFastGelu", Products::kMatMul),
    Multiplied("com.microsoft.GemmFloat8", Products::kUncounted),
    Multiplied("com.microsoft.GroupQueryAttention", Products::kAttention),
    Multiplied("com.microsoft.LinearAttention", Products::kUncounted),
    Multiplied("com.microsoft.LongformerAttention", Products::kUncounted),
    Multiplied("com.microsoft.MatMulBlockQuantizedFp4Weight", Products::kUncounted),
    Multiplied("com.microsoft.MatMulBlockQuantizedFp8Weight", Products::kUncounted),
    Multiplied("com.microsoft.MatMulBnb4", Products::kColumns),
    Multiplied("com.microsoft.MatMulFpQ4", Products::kUncounted),
    Multiplied("com.microsoft.MatMulInteger16", Products::kMatMul),
    Multiplied("com.microsoft.MatMulIntegerToFloat", Products::kMatMul),
    Multiplied("com.microsoft.MatMulNBits", Products::kColumns),
    Multiplied("com.microsoft.MatMulNBitsMlp", Products::kUncounted),
    Multiplied("com.microsoft.MatMulNBitsQLoRA", Products::kUncounted),
    Multiplied("com.microsoft.MatMulNBitsQkv", Products::kUncounted),
    Multiplied("com.microsoft.MatMulPacked", Products::kUncounted),
    Multiplied("com.microsoft.MoE", Products::kUncounted),
    Multiplied("com.microsoft.MoEPacked", Products::kUncounted),
    Multiplied("com.microsoft.MultiHeadAttention", Products::kAttention),
    Multiplied("com.microsoft.NhwcConv", Products::kConv),
    Multiplied("com.microsoft.NhwcFusedConv", Products::kConv),
    Multiplied("com.microsoft.PackedAttention", Products::kUncounted),
    Multiplied("com.microsoft.PackedMultiHeadAttention", Products::kUncounted),
    Multiplied("com.microsoft.PagedAttention", Products::kUncounted),
    Multiplied("com.microsoft.QAttention", Products::kUncounted),
    Multiplied("com.microsoft.QGemm", Products::kUncounted),
    Multiplied("com.microsoft.QLinearConv", Products::kConv, 3),
    Multiplied("com.microsoft.QMoE", Products::kUncounted),
    Multiplied("com.microsoft.QOrderedAttention", Products::kUncounted),
    Multiplied("com.microsoft.QOrderedLongformerAttention", Products::kUncounted),
    Multiplied("com.microsoft.QOrderedMatMul", Products::kUncounted),
    Multiplied("com.microsoft.SparseAttention", Products::kUncounted),
    Multiplied("com.microsoft.SparsePagedAttention", Products::kUncounted),
    Multiplied("com.microsoft.SparseToDenseMatMul", Products::kUncounted),
    Multiplied("com.microsoft.TransposeMatMul", Products::kMatMul),
    Multiplied("com.microsoft.nchwc.Conv", Products::kConv),
};

}  // namespace

std::span<const OpTraits> OpTraitsTable() { return kOpTraits; }

const OpTraits& TraitsOf(const onnx::NodeProto& node) {
  static constexpr OpTraits kDefaults;
  std::string qualified;
  if (!IsStandard(node.domain())) qualified = node.domain() + "." + node.op_type();
  const std::string_view op = qualified.empty() ? std::string_view(node.op_type()) : qualified;
  const auto found = std::ranges::lower_bound(kOpTraits, op, {}, &OpTraits::op_type);
  return found != kOpTraits.end() && found->op_type == op ? *found : kDefaults;
}

}  // namespace halfsafe
