#include "runtime/chain_kernel.h"

#include <algorithm>
#include <cmath>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "runtime/chain_kernel.cc"
#include <hwy/foreach_target.h>  // compiles this file once per instruction set

#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace halfsafe {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

using Tag = hn::ScalableTag<float>;
using Vector = hn::Vec<Tag>;

struct AddOp {
  HWY_INLINE Vector operator()(Vector a, Vector b) const { return hn::Add(a, b); }
};
struct SubOp {
  HWY_INLINE Vector operator()(Vector a, Vector b) const { return hn::Sub(a, b); }
};
struct MulOp {
  HWY_INLINE Vector operator()(Vector a, Vector b) const { return hn::Mul(a, b); }
};
struct DivOp {
  HWY_INLINE Vector operator()(Vector a, Vector b) const { return hn::Div(a, b); }
};
struct MaxOp {
  HWY_INLINE Vector operator()(Vector a, Vector b) const {
    return hn::IfThenElse(hn::Or(hn::Gt(a, b), hn::IsNaN(a)), a, b);
  }
};
struct MinOp {
  HWY_INLINE Vector operator()(Vector a, Vector b) const {
    return hn::IfThenElse(hn::Or(hn::Lt(a, b), hn::IsNaN(a)), a, b);
  }
};
struct AbsOp {
  HWY_INLINE Vector operator()(Vector a, Vector) const { return hn::Abs(a); }
};
struct NegOp {
  HWY_INLINE Vector operator()(Vector a, Vector) const { return hn::Neg(a); }
};
struct SqrtOp {
  HWY_INLINE Vector operator()(Vector a, Vector) const { return hn::Sqrt(a); }
};

/// One loop for each way of operands to lie: a scalar is read once.
template <typename Op>
HWY_INLINE size_t Loop(OperandBlock a, OperandBlock b, size_t count, float* out) {
  const Tag d;
  const Op op;
  const size_t lanes = hn::Lanes(d);
  size_t i = 0;
  if (a.scalar) {
    const Vector left = hn::Set(d, *a.values);
    for (; i + lanes <= count; i += lanes) hn::StoreU(op(left, hn::LoadU(d, b.values + i)), d, out + i);
  } else if (b.scalar) {
    const Vector right = hn::Set(d, *b.values);
    for (; i + lanes <= count; i += lanes) hn::StoreU(op(hn::LoadU(d, a.values + i), right), d, out + i);
  } else {
    for (; i + lanes <= count; i += lanes)
      hn::StoreU(op(hn::LoadU(d, a.values + i), hn::LoadU(d, b.values + i)), d, out + i);
  }
  return i;
}

HWY_INLINE size_t LoopOf(ChainOp op, OperandBlock a, OperandBlock b, size_t count, float* out) {
  switch (op) {
    case ChainOp::kAdd:
      return Loop<AddOp>(a, b, count, out);
    case ChainOp::kSub:
      return Loop<SubOp>(a, b, count, out);
    case ChainOp::kMul:
      return Loop<MulOp>(a, b, count, out);
    case ChainOp::kDiv:
      return Loop<DivOp>(a, b, count, out);
    case ChainOp::kMax:
      return Loop<MaxOp>(a, b, count, out);
    case ChainOp::kMin:
      return Loop<MinOp>(a, b, count, out);
    case ChainOp::kAbs:
      return Loop<AbsOp>(a, b, count, out);
    case ChainOp::kNeg:
      return Loop<NegOp>(a, b, count, out);
    case ChainOp::kSqrt:
      return Loop<SqrtOp>(a, b, count, out);
  }
  return 0;
}

void ApplyStepVector(ChainOp op, OperandBlock a, OperandBlock b, size_t count, float* out) {
  if (a.scalar && b.scalar) {
    float result = 0.0f;
    ApplyStepScalar(op, a, b, 1, &result);
    std::fill_n(out, count, result);
    return;
  }
  const size_t done = LoopOf(op, a, b, count, out);
  if (done == count) return;
  if (!a.scalar) a.values += done;
  if (!b.scalar) b.values += done;
  ApplyStepScalar(op, a, b, count - done, out + done);
}

}  // namespace HWY_NAMESPACE
}  // namespace halfsafe
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace halfsafe {
namespace {

float ApplyOne(ChainOp op, float a, float b) {
  switch (op) {
    case ChainOp::kAdd:
      return a + b;
    case ChainOp::kSub:
      return a - b;
    case ChainOp::kMul:
      return a * b;
    case ChainOp::kDiv:
      return a / b;
    case ChainOp::kMax:
      return a > b || std::isnan(a) ? a : b;
    case ChainOp::kMin:
      return a < b || std::isnan(a) ? a : b;
    case ChainOp::kAbs:
      return std::fabs(a);
    case ChainOp::kNeg:
      return -a;
    case ChainOp::kSqrt:
      return std::sqrt(a);
  }
  return a;
}

}  // namespace

HWY_EXPORT(ApplyStepVector);

void ApplyStep(ChainOp op, OperandBlock a, OperandBlock b, size_t count, float* out) {
  HWY_DYNAMIC_DISPATCH(ApplyStepVector)(op, a, b, count, out);
}

void ApplyStepScalar(ChainOp op, OperandBlock a, OperandBlock b, size_t count, float* out) {
  for (size_t i = 0; i < count; ++i)
    out[i] = ApplyOne(op, a.values[a.scalar ? 0 : i], b.values[b.scalar ? 0 : i]);
}

}  // namespace halfsafe
#endif
