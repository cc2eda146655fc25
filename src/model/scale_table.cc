#include <algorithm>
#include <array>

#include "model/scale_rules.h"

namespace halfsafe {
namespace {

constexpr ScaleRule Passes(std::string_view op) { return {op, "="}; }
constexpr ScaleRule Ties(std::string_view op) { return {op, "=*"}; }
constexpr ScaleRule Compares(std::string_view op) { return {op, "+-", 0}; }
constexpr ScaleRule Ignores(std::string_view op) { return {op, "?", 0}; }
constexpr ScaleRule Recurrent(std::string_view op) { return {op, "++", 0}; }
constexpr ScaleRule Normalizes(std::string_view op) { return {op, "?==", 1, {{"epsilon", -2}}}; }

/// Sorted by name.
constexpr std::array kScaleRules = {
    Passes("Abs"),
    ScaleRule{"Add", "=="},
    Ignores("ArgMax"),
    Ignores("ArgMin"),
    ScaleRule{"Attention", "11=11="},
    Passes("AveragePool"),
    ScaleRule{"BatchNormalization", "++=0v", 1, {{"epsilon", -1, 4}}},
    ScaleRule{"Celu", "=", 1, {{"alpha", -1}}},
    Passes("CenterCropPad"),
    ScaleRule{"Clip", "===", 1, {{"min", -1}, {"max", -1}}},
    Passes("Col2Im"),
    Passes("Compress"),
    Ties("Concat"),
    ScaleRule{"Conv", "++="},
    ScaleRule{"ConvTranspose", "++="},
    Passes("CumSum"),
    Passes("DFT"),
    ScaleRule{"DeformConv", "++1=1"},
    Passes("DepthToSpace"),
    ScaleRule{"Div", "+-"},
    Passes("Dropout"),
    ScaleRule{"Einsum", "+*"},
    Compares("Equal"),
    // Exactly rounded, erf is 1 from 3.919 on; ONNX Runtime's kernel clamps at 3.925.
    ScaleRule{"Erf", "1", 0, {}, -4.0, 4.0},
    Passes("Expand"),
    Passes("Flatten"),
    Recurrent("GRU"),
    Passes("Gather"),
    Passes("GatherElements"),
    Passes("GatherND"),
    ScaleRule{"Gemm", "++="},
    Passes("GlobalAveragePool"),
    Passes("GlobalLpPool"),
    Passes("GlobalMaxPool"),
    Compares("Greater"),
    Compares("GreaterOrEqual"),
    Passes("GridSample"),
    Normalizes("GroupNormalization"),
    ScaleRule{"HardSigmoid", "?", 0, {{"alpha", 1}}},
    Ignores("Hardmax"),
    Passes("Identity"),
    Normalizes("InstanceNormalization"),
    Ignores("IsInf"),
    Ignores("IsNaN"),
    ScaleRule{"LRN", "=", 1, {{"alpha", 2}}},
    Recurrent("LSTM"),
    Normalizes("LayerNormalization"),
    Passes("LeakyRelu"),
    Compares("Less"),
    Compares("LessOrEqual"),
    Ignores("LpNormalization"),
    Passes("LpPool"),
    ScaleRule{"MatMul", "++"},
    Ties("Max"),
    Passes("MaxPool"),
    Passes("MaxRoiPool"),
    Passes("MaxUnpool"),
    Ties("Mean"),
    Ties("Min"),
    ScaleRule{"Mod", "=="},
    ScaleRule{"Mul", "++"},
    Passes("Neg"),
    Ignores("NonZero"),
    ScaleRule{"OneHot", "11="},
    Passes("PRelu"),
    ScaleRule{"Pad", "=1=", 1, {{"value", -1}}},
    ScaleRule{"Pow", "p1"},
    ScaleRule{"RMSNormalization", "?=", 1, {{"epsilon", -2}}},
    Recurrent("RNN"),
    ScaleRule{"Reciprocal", "-"},
    Passes("ReduceL1"),
    Passes("ReduceL2"),
    Passes("ReduceMax"),
    Passes("ReduceMean"),
    Passes("ReduceMin"),
    Passes("ReduceSum"),
    ScaleRule{"ReduceSumSquare", "2"},
    Passes("Relu"),
    Passes("Reshape"),
    ScaleRule{"Resize", "=", 1, {{"extrapolation_value", -1}}},
    Passes("ReverseSequence"),
    Passes("RoiAlign"),
    Passes("RotaryEmbedding"),
    Passes("STFT"),
    ScaleRule{"Scatter", "=1="},
    ScaleRule{"ScatterElements", "=1="},
    ScaleRule{"ScatterND", "=1="},
    Ignores("Shape"),
    ScaleRule{"Shrink", "=", 1, {{"lambd", -1}, {"bias", -1}}},
    // Exactly rounded, sigmoid is 1 from 17.33 on and 0 only below -103.97; the kernel stops at +-18.
    ScaleRule{"Sigmoid", "1", 0, {}, -104.0, 19.0},
    Ignores("Sign"),
    Ignores("Size"),
    Passes("Slice"),
    Passes("SpaceToDepth"),
    Passes("Split"),
    ScaleRule{"Sqrt", "+", 2},
    Passes("Squeeze"),
    ScaleRule{"Sub", "=="},
    Ties("Sum"),
    // Exactly rounded, tanh is 1 from 9.011 on; the kernel stops at 9.
    ScaleRule{"Tanh", "1", 0, {}, -10.0, 10.0},
    ScaleRule{"TensorScatter", "=="},
    ScaleRule{"ThresholdedRelu", "=", 1, {{"alpha", -1}}},
    Passes("Tile"),
    Passes("TopK"),
    Passes("Transpose"),
    Passes("Trilu"),
    Passes("Unique"),
    Passes("Unsqueeze"),
    Passes("Upsample"),
    ScaleRule{"Where", "1=="},
};
static_assert(std::ranges::is_sorted(kScaleRules, {}, &ScaleRule::op_type));

}  // namespace

std::span<const ScaleRule> ScaleRuleTable() { return kScaleRules; }

}  // namespace halfsafe
