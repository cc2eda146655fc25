#include "observe/chain_builder.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "model/op_traits.h"
#include "model/walk.h"

namespace halfsafe {
namespace {

using Kind = ChainOperand::Kind;

/// From here on binary operators broadcast as in numpy, and BatchNormalization has its present form.
constexpr int kFirstOpset = 9;
/// From here on the bounds of Clip are inputs.
constexpr int kClipByInputs = 11;

float FloatAttribute(const onnx::NodeProto& node, std::string_view name, float otherwise) {
  const auto* attribute = FindAttribute(node, name);
  return attribute == nullptr ? otherwise : attribute->f();
}

const TensorInfo* Input(const GraphIndex& index, const NodeInfo& node, size_t slot) {
  return slot < node.inputs.size() && node.inputs[slot] >= 0 ? &index.tensor(node.inputs[slot]) : nullptr;
}

bool IsConstant(const TensorInfo& tensor) {
  return tensor.kind == TensorKind::kConstant && tensor.data != nullptr;
}

/// A single number, which has no dimension that the node's result would lack without it.
bool IsScalar(const GraphIndex& index, const NodeInfo& node, const TensorInfo& tensor) {
  if (!IsConstant(tensor) || TensorElementCount(*tensor.data) != 1) return false;
  const int rank = tensor.data->dims_size();
  return rank == 0 || std::any_of(node.inputs.begin(), node.inputs.end(), [&](int id) {
           return id >= 0 && &index.tensor(id) != &tensor && index.tensor(id).has_rank &&
                  index.tensor(id).shape.size() >= static_cast<size_t>(rank);
         });
}

bool HasScalarBounds(const Model& model, const GraphIndex& index, const NodeInfo& node) {
  if (OpsetVersion(model.proto(), "") < kClipByInputs) return true;
  for (const size_t slot : {1, 2}) {
    const TensorInfo* bound = Input(index, node, slot);
    if (bound != nullptr && !(IsConstant(*bound) && TensorElementCount(*bound->data) == 1)) return false;
  }
  return true;
}

/// In inference mode, with known numbers for every channel: then it is a scale and a shift.
bool IsAffine(const GraphIndex& index, const NodeInfo& node) {
  if (node.inputs.size() != 5 || IntAttribute(*node.proto, "training_mode", 0) != 0) return false;
  const TensorInfo* input = Input(index, node, 0);
  if (input == nullptr || !input->has_rank || input->shape.size() < 2) return false;
  for (size_t slot = 1; slot < 5; ++slot) {
    const TensorInfo* numbers = Input(index, node, slot);
    if (numbers == nullptr || !IsConstant(*numbers)) return false;
  }
  return true;
}

/// Raises to the power of two, which ONNX Runtime turns into a product.
bool IsSquare(const Model& model, const GraphIndex& index, const NodeInfo& node) {
  const TensorInfo* exponent = Input(index, node, 1);
  return exponent != nullptr && IsScalar(index, node, *exponent) &&
         ReadFloats(model, *exponent->data)[0] == 2.0f;
}

bool IsFp32(const TensorInfo& tensor) { return tensor.is_tensor && tensor.dtype == DType::kFloat; }

}  // namespace

bool FitsChain(const Model& model, const GraphIndex& index, const NodeInfo& node) {
  const Formula formula = TraitsOf(*node.proto).formula;
  if (formula == Formula::kNone || OpsetVersion(model.proto(), "") < kFirstOpset) return false;
  if (node.inputs.empty() || node.outputs.size() != 1 || node.outputs[0] < 0) return false;
  if (!IsFp32(index.tensor(node.outputs[0])) || node.inputs[0] < 0) return false;
  for (const int input : node.inputs) {
    if (input >= 0 && !IsFp32(index.tensor(input))) return false;
  }
  switch (formula) {
    case Formula::kClip:
      return HasScalarBounds(model, index, node);
    case Formula::kBatchNormalization:
      return IsAffine(index, node);
    case Formula::kPow:
      return IsSquare(model, index, node);
    case Formula::kMax:
    case Formula::kMin:
      return node.inputs.size() >= 2;
    default:
      return true;
  }
}

void ChainBuilder::Add(const NodeInfo& node, int64_t id) {
  const ChainOperand result = Result(node);
  chain.steps[static_cast<size_t>(result.index)].id = id;
  step_of[node.outputs[0]] = result.index;
}

ChainOperand ChainBuilder::Result(const NodeInfo& node) {
  switch (TraitsOf(*node.proto).formula) {
    case Formula::kAbs:
      return Step(ChainOp::kAbs, Read(node, 0), Read(node, 0));
    case Formula::kNeg:
      return Step(ChainOp::kNeg, Read(node, 0), Read(node, 0));
    case Formula::kSqrt:
      return Step(ChainOp::kSqrt, Read(node, 0), Read(node, 0));
    case Formula::kAdd:
      return Step(ChainOp::kAdd, Read(node, 0), Read(node, 1));
    case Formula::kSub:
      return Step(ChainOp::kSub, Read(node, 0), Read(node, 1));
    case Formula::kMul:
      return Step(ChainOp::kMul, Read(node, 0), Read(node, 1));
    case Formula::kDiv:
      return Step(ChainOp::kDiv, Read(node, 0), Read(node, 1));
    case Formula::kMax:
      return Folded(node, ChainOp::kMax);
    case Formula::kMin:
      return Folded(node, ChainOp::kMin);
    case Formula::kReciprocal:
      return Step(ChainOp::kDiv, Scalar(1.0f), Read(node, 0));
    case Formula::kRelu:
      // Like all of these limits, it keeps the zero of the value, not of the limit.
      return Step(ChainOp::kMax, Scalar(0.0f), Read(node, 0));
    case Formula::kHardSigmoid: {
      const ChainOperand product =
          Step(ChainOp::kMul, Scalar(FloatAttribute(*node.proto, "alpha", 0.2f)), Read(node, 0));
      const ChainOperand sum =
          Step(ChainOp::kAdd, product, Scalar(FloatAttribute(*node.proto, "beta", 0.5f)));
      return Step(ChainOp::kMax, Scalar(0.0f), Step(ChainOp::kMin, Scalar(1.0f), sum));
    }
    case Formula::kClip:
      return Clipped(node);
    case Formula::kBatchNormalization:
      return Normalized(node);
    case Formula::kPow:
      return Step(ChainOp::kMul, Read(node, 0), Read(node, 0));
    case Formula::kNone:
      break;
  }
  return {};
}

ChainOperand ChainBuilder::Clipped(const NodeInfo& node) {
  float low = std::numeric_limits<float>::lowest();
  float high = std::numeric_limits<float>::max();
  low = FloatAttribute(*node.proto, "min", low);
  high = FloatAttribute(*node.proto, "max", high);
  if (const TensorInfo* bound = Input(index_, node, 1)) low = ReadFloats(model_, *bound->data)[0];
  if (const TensorInfo* bound = Input(index_, node, 2)) high = ReadFloats(model_, *bound->data)[0];
  return Step(ChainOp::kMin, Scalar(high), Step(ChainOp::kMax, Scalar(low), Read(node, 0)));
}

ChainOperand ChainBuilder::Normalized(const NodeInfo& node) {
  const auto numbers = [&](size_t slot) { return ReadFloats(model_, *Input(index_, node, slot)->data); };
  const std::vector<float> mean = numbers(3), variance = numbers(4);
  std::vector<float> scale = numbers(1), shift = numbers(2);
  const float epsilon = FloatAttribute(*node.proto, "epsilon", 1e-5f);
  for (size_t i = 0; i < scale.size(); ++i) {
    scale[i] *= 1.0f / std::sqrt(variance[i] + epsilon);
    shift[i] -= mean[i] * scale[i];
  }
  const ChainOperand product = Step(ChainOp::kMul, Read(node, 0), Channels(node, "/scale", std::move(scale)));
  return Step(ChainOp::kAdd, product, Channels(node, "/shift", std::move(shift)));
}

ChainOperand ChainBuilder::Folded(const NodeInfo& node, ChainOp op) {
  ChainOperand result = Read(node, 0);
  for (size_t slot = 1; slot < node.inputs.size(); ++slot) result = Step(op, result, Read(node, slot));
  return result;
}

ChainOperand ChainBuilder::Step(ChainOp op, ChainOperand a, ChainOperand b) {
  chain.steps.push_back({op, a, b, -1});
  return {Kind::kStep, static_cast<int>(chain.steps.size()) - 1};
}

ChainOperand ChainBuilder::Scalar(float value) {
  chain.constants.push_back(value);
  return {Kind::kConstant, static_cast<int>(chain.constants.size()) - 1};
}

ChainOperand ChainBuilder::Channels(const NodeInfo& node, const std::string& name,
                                    std::vector<float> values) {
  // The channels are the second dimension.
  std::vector<int64_t> shape(Input(index_, node, 0)->shape.size() - 1, 1);
  shape[0] = static_cast<int64_t>(values.size());
  new_constants.push_back({"halfsafe.chain/" + node.name + name, std::move(shape), std::move(values)});
  inputs.push_back(-static_cast<int>(new_constants.size()));
  return {Kind::kInput, static_cast<int>(inputs.size()) - 1};
}

ChainOperand ChainBuilder::Read(const NodeInfo& node, size_t slot) {
  const int tensor = node.inputs[slot];
  const TensorInfo& info = index_.tensor(tensor);
  if (const auto step = step_of.find(tensor); step != step_of.end()) return {Kind::kStep, step->second};
  if (IsScalar(index_, node, info)) return Scalar(ReadFloats(model_, *info.data)[0]);
  const auto [input, added] = input_of_.emplace(tensor, static_cast<int>(inputs.size()));
  if (added) inputs.push_back(tensor);
  return {Kind::kInput, input->second};
}

}  // namespace halfsafe
