#include "model/rescale_rules.h"

namespace halfsafe {
namespace {

bool IsOwnConstant(const GraphIndex& index, int tensor) {
  if (tensor < 0) return false;
  const TensorInfo& info = index.tensor(tensor);
  return info.kind == TensorKind::kConstant && info.data != nullptr && info.dtype == DType::kFloat &&
         info.uses.size() == 1 && !info.graph_output && info.graph == 0;
}

/// A BatchNormalization in inference whose scale, mean and variance are constants of its own.
bool IsRescalableNormalization(const GraphIndex& index, const NodeInfo& node) {
  if (node.graph != 0 || node.proto->op_type() != "BatchNormalization" || !node.proto->domain().empty())
    return false;
  for (size_t slot = 1; slot < node.outputs.size(); ++slot) {
    if (node.outputs[slot] >= 0) return false;  // Training: the statistics are results.
  }
  return node.inputs.size() >= 5 && IsOwnConstant(index, node.inputs[1]) &&
         IsOwnConstant(index, node.inputs[3]) && IsOwnConstant(index, node.inputs[4]);
}

}  // namespace

std::optional<RescalableTensor> FindRescalable(const GraphIndex& index, int tensor) {
  const TensorInfo& info = index.tensor(tensor);
  if (info.graph != 0 || info.graph_output || info.producer < 0 || info.uses.size() != 1 ||
      info.uses[0].slot != 0)
    return std::nullopt;
  const NodeInfo& producer = index.node(info.producer);
  const NodeInfo& reader = index.node(info.uses[0].node);
  const std::string& op = producer.proto->op_type();
  const bool linear =
      (op == "Conv" || op == "ConvTranspose" || op == "Gemm") && producer.proto->domain().empty();
  if (!linear || !IsOwnConstant(index, producer.inputs[1])) return std::nullopt;
  const bool has_bias = producer.inputs.size() > 2 && producer.inputs[2] >= 0;
  if (has_bias && !IsOwnConstant(index, producer.inputs[2])) return std::nullopt;
  if (!IsRescalableNormalization(index, reader)) return std::nullopt;
  return RescalableTensor{info.producer, info.uses[0].node};
}

int FindVarianceReader(const GraphIndex& index, int constant) {
  if (!IsOwnConstant(index, constant)) return -1;
  const TensorUse& use = index.tensor(constant).uses[0];
  return use.slot == 4 && IsRescalableNormalization(index, index.node(use.node)) ? use.node : -1;
}

}  // namespace halfsafe
