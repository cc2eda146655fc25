#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace halfsafe {

/// What one step of a chain computes from its operands `a` and `b`. Each is rounded as IEEE 754 says, so the
/// results are those of ONNX Runtime to the bit.
enum class ChainOp : uint8_t {
  kAdd,
  kSub,
  kMul,
  kDiv,
  kMax,  ///< NaN where one operand is; `b` where both are equal, which matters for the sign of zero.
  kMin,  ///< Likewise.
  kAbs,
  kNeg,
  kSqrt,
};

constexpr bool IsUnary(ChainOp op) { return op >= ChainOp::kAbs; }

/// Where a step takes a value from.
struct ChainOperand {
  enum class Kind : uint8_t { kInput, kConstant, kStep };
  Kind kind = Kind::kConstant;
  int index = 0;
};

struct ChainStep {
  ChainOp op = ChainOp::kAdd;
  ChainOperand a;
  ChainOperand b;   ///< The same as `a` where `op` takes one operand.
  int64_t id = -1;  ///< Under which the result is observed; -1: not at all.
};

/// Element-wise operators that run as one: each block of the result goes through all steps while it is in the
/// cache, and what only other steps read never goes to memory. Operands are FP32 and broadcast as in numpy.
struct Chain {
  std::vector<int64_t> inputs;  ///< Per input of the node, under which it is observed; -1: not at all.
  std::vector<float> constants;
  std::vector<ChainStep> steps;  ///< A step reads only earlier ones.
  std::vector<int> outputs;      ///< Per output of the node, the step that makes it.
};

}  // namespace halfsafe
