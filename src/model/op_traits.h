#pragma once

#include <onnx/onnx_pb.h>

#include <span>
#include <string_view>

namespace halfsafe {

/// What a result is made of, as far as its range and its rounding are concerned.
enum class Values {
  kNew,       ///< Computed: any value may appear.
  kPermuted,  ///< Exactly the values of input 0, each once: its statistics are the input's.
  kSelected,  ///< Values of the inputs, or zero: rounding rounded inputs again changes nothing.
};

/// The sums inside an operator, whose partial results a runtime may store in the operator's own precision.
enum class Sums {
  kNone,
  kElements,  ///< Sums of elements of input 0: means, pools.
  kSquares,   ///< Sums of squares of elements of input 0: variances, norms.
  kProducts,  ///< Dot products of elements of inputs 0 and 1, plus input 2 where there is one.
};

/// How the multiply-adds inside an operator are counted, from the sizes of its tensors.
enum class Products {
  kNone,           ///< It multiplies no matrices.
  kConv,           ///< Each result meets one filter: all axes of the weights but the first.
  kConvTranspose,  ///< Each element of input 0 meets one filter.
  kMatMul,         ///< Each result is a sum as long as the last axis but one of the weights.
  kGemm,           ///< Like kMatMul, with an attribute that says which axis of the weights that is.
  kColumns,        ///< Each result is a sum whose length is the attribute K, as of packed weights.
  kEinsum,         ///< Each result is a sum over the letters that the equation drops.
  kRecurrent,      ///< Each step meets all of the weights, inputs 1 and 2.
  kAttention,  ///< Each element of the query, and each result, meets every key: input 1, or a present one.
  kTransform,  ///< A fast Fourier transform.
  kUncounted,  ///< It multiplies matrices, and their number is not told by its tensors.
};

/// An operator's result at an index as a function of its operands there, broadcast as in numpy: what a scan
/// can evaluate itself, to the bit as ONNX Runtime does (BatchNormalization up to rounding).
enum class Formula {
  kNone,
  kAbs,
  kAdd,
  kBatchNormalization,
  kClip,
  kDiv,
  kHardSigmoid,
  kMax,
  kMin,
  kMul,
  kNeg,
  kPow,
  kReciprocal,
  kRelu,
  kSqrt,
  kSub,
};

/// Everything halfsafe knows about an operator beyond its schema.
struct OpTraits {
  std::string_view op_type;  ///< With its domain in front ("com.microsoft.FusedConv") where it is not ONNX's.
  Values values = Values::kNew;
  Sums sums = Sums::kNone;
  /// Its result blows up where input `pole` is zero, so that input must not vanish: -1 for none.
  int pole = -1;
  bool type_by_attribute =
      false;  ///< Its output type comes from an attribute that rewriting would have to edit.
  /// Why the operator can't be FP16 although its schema lists the type; empty for all others.
  std::string_view only_fp32 = "";
  Formula formula = Formula::kNone;
  Products products = Products::kNone;
  int weights = 1;  ///< The input that products meet input 0 with.
  /// It brings its results to one scale, as a probability's or a norm's: small ones beside large ones are
  /// little of the same, not another quantity.
  bool one_scale = false;
};

/// All rows, sorted by operator.
std::span<const OpTraits> OpTraitsTable();

/// The row of a node's operator; a row of defaults where it has none.
const OpTraits& TraitsOf(const onnx::NodeProto& node);

}  // namespace halfsafe
