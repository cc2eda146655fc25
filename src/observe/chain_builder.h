#pragma once

#include <string>
#include <unordered_map>
#include <vector>

#include "model/graph_index.h"
#include "runtime/chain.h"

namespace halfsafe {

/// Whether a chain can compute this node: an operator with a formula, on FP32 tensors, with those operands
/// constant that the steps of a chain need to know.
bool FitsChain(const Model& model, const GraphIndex& index, const NodeInfo& node);

/// Writes down nodes as the steps of a chain.
class ChainBuilder {
 public:
  ChainBuilder(const Model& model, const GraphIndex& index) : model_(model), index_(index) {}

  /// Adds a node that fits. `id` is that of its result, -1 where it is not observed.
  void Add(const NodeInfo& node, int64_t id);

  /// A constant that the graph lacks: an input of the chain that names it.
  struct NewConstant {
    std::string name;
    std::vector<int64_t> shape;
    std::vector<float> values;
  };

  Chain chain;
  std::vector<int> inputs;  ///< Per input of the chain, the tensor, or -1-i for `new_constants[i]`.
  std::vector<NewConstant> new_constants;
  std::unordered_map<int, int> step_of;  ///< Per tensor, the step that computes it.

 private:
  ChainOperand Read(const NodeInfo& node, size_t slot);
  ChainOperand Scalar(float value);
  ChainOperand Channels(const NodeInfo& node, const std::string& name, std::vector<float> values);
  ChainOperand Step(ChainOp op, ChainOperand a, ChainOperand b);
  ChainOperand Result(const NodeInfo& node);
  ChainOperand Clipped(const NodeInfo& node);
  ChainOperand Normalized(const NodeInfo& node);
  ChainOperand Folded(const NodeInfo& node, ChainOp op);

  const Model& model_;
  const GraphIndex& index_;
  std::unordered_map<int, int> input_of_;  ///< Per tensor, the input that brings it.
};

}  // namespace halfsafe
