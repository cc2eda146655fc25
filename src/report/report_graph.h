#pragma once

#include <optional>
#include <string>
#include <vector>

#include "halfsafe/halfsafe.h"
#include "model/graph_index.h"

namespace halfsafe {

/// A tensor as a report shows it.
struct ReportTensor {
  std::string name;
  TensorKind kind = TensorKind::kActivation;
  DType dtype = DType::kUndefined;
  std::string shape;       ///< "1×3×?"; "scalar" without dimensions; empty where it is not known.
  int producer = -1;       ///< The node that writes it; -1 for inputs and constants.
  bool output = false;     ///< Of the model.
  bool overflows = false;  ///< Past the threshold, or infinite or NaN.
  const TensorStats* stats = nullptr;  ///< nullptr where no sample showed it.
  int exponent = 0;                    ///< It is stored times 2^-exponent.
  /// The tensor of the other graph that holds the same value: of the original's, what the node that computes
  /// it writes in the fixed model; of the fixed model's, what it is a form of. -1 where there is none.
  int counterpart = -1;
};

/// A node as a report shows it.
struct ReportNode {
  std::string name;
  std::string op_type;
  std::string precision;  ///< "FP16", "FP32", "BF16"; empty where nothing was decided about it.
  std::string reason;     ///< One of docs/rules.md; empty where no plan gives one.
  std::string evidence;
  std::string repair;                ///< What was done to it, or what it was inserted for; empty for most.
  bool inserted = false;             ///< The fixed model has it and the original hasn't.
  std::vector<int> inputs, outputs;  ///< Tensors; omitted operands are left out.
};

/// The inside of a model: who writes what, who reads it, and what each tensor did.
struct ReportGraph {
  std::vector<ReportTensor> tensors;
  std::vector<ReportNode> nodes;  ///< In graph order.
};

/// The inside of both models. Refers into the ranges that it was made from.
struct ReportGraphs {
  ReportGraph original;
  std::optional<ReportGraph> fixed;
};

/// What a command knows of a model's inside. What it doesn't know is nullptr.
struct GraphSources {
  const Model& model;  ///< That the plan is for.
  const RangeTable* ranges = nullptr;
  double threshold = 10000.0;
  const Plan* plan = nullptr;
  const Model* fixed = nullptr;
  const RangeTable* fixed_ranges = nullptr;  ///< Of the fixed model's tensors.
};

/// Brings together what is known. Without a plan, precisions, reasons and exponents are those that the fixed
/// model says of itself.
ReportGraphs BuildGraphs(const GraphSources& sources);

}  // namespace halfsafe
