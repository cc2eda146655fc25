#pragma once

#include <vector>

#include "model/graph_index.h"

namespace halfsafe {

/// Who decides the type of a tensor at one of its ends: a node (its number), or nobody.
inline constexpr int kAlwaysFp32 = -1;  ///< The end is FP32 whatever any node runs in.
inline constexpr int kNoFloat = -2;     ///< The tensor isn't FP32 in the model, so no decision touches it.

/// The two sides of an FP32 tensor: who writes it, and who reads it, each with the decider of its type there.
struct TensorPorts {
  int writer = kNoFloat;
  std::vector<int> readers;  ///< Per TensorInfo::uses, then per body or graph output that names the tensor.
};

/// A reader of a tensor that is not an operand of a node: the output list of a graph.
struct OutputPort {
  int graph = 0;
  int slot = 0;
};

/// Which node's precision decides the type of which tensor end, derived from the ONNX operator schemas of the
/// model's opset: an operand follows its node where the schema lets that operand be FP16; one that the schema
/// holds to FP32 (the scales of Resize) is always FP32. The values that If, Loop and Scan carry follow the
/// If, Loop or Scan.
class PrecisionPorts {
 public:
  explicit PrecisionPorts(const GraphIndex& index);

  const TensorPorts& of(int tensor) const { return ports_[static_cast<size_t>(tensor)]; }
  /// Output ports that read the tensor, in the order in which TensorPorts::readers continues behind the uses.
  const std::vector<OutputPort>& outputs_of(int tensor) const {
    return outputs_[static_cast<size_t>(tensor)];
  }
  /// Whether the node has any FP32 operand or result that follows it.
  bool Switchable(int node) const { return switchable_[static_cast<size_t>(node)]; }
  /// Why a node with FP32 tensors is not switchable; empty for all others.
  const std::string& WhyNot(int node) const { return why_not_[static_cast<size_t>(node)]; }
  /// Whether the schema lets all that follows the node be BF16 too.
  bool AllowsBf16(int node) const { return allows_bf16_[static_cast<size_t>(node)]; }
  /// The node that decides the type of input `slot` of `node`, or kAlwaysFp32.
  int OperandDecider(int node, int slot) const;

 private:
  void ReadNode(const GraphIndex& index, int node);
  void ReadBodies(const GraphIndex& index, int node);

  std::vector<TensorPorts> ports_;
  std::vector<std::vector<OutputPort>> outputs_;
  std::vector<bool> switchable_;
  std::vector<std::string> why_not_;
  std::vector<bool> allows_bf16_;
  std::vector<std::vector<bool>> operand_follows_;  ///< Per node and input slot.
};

}  // namespace halfsafe
