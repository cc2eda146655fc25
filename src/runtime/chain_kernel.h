#pragma once

#include <cstddef>

#include "runtime/chain.h"

namespace halfsafe {

/// A block of an operand: as many values as the result has, or one for all of them.
struct OperandBlock {
  const float* values = nullptr;
  bool scalar = false;
};

/// Computes `count` results of one step: with the widest vectors of this machine, and one by one. Both give
/// the same bits, but for those of NaN. `out` may be the memory of an operand that is not a scalar.
void ApplyStep(ChainOp op, OperandBlock a, OperandBlock b, size_t count, float* out);
void ApplyStepScalar(ChainOp op, OperandBlock a, OperandBlock b, size_t count, float* out);

}  // namespace halfsafe
