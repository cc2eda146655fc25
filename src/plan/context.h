#pragma once

#include <string>
#include <vector>

#include "halfsafe/plan.h"
#include "model/graph_index.h"
#include "model/precision_ports.h"

namespace halfsafe {

/// Why a node stays FP32.
struct Pin {
  std::string reason;  ///< Empty: free.
  std::string evidence;
};

/// What the rules read, and where they leave their findings.
struct PlanContext {
  const Model& model;
  const GraphIndex& index;
  const PrecisionPorts& ports;
  const RangeTable& ranges;
  const PlanOptions& options;

  std::vector<Pin> pins;  ///< Per node.
  std::vector<ConstantPlan> constants;
  std::vector<bool> io_stays_fp32;  ///< Per tensor: an input or output that `io_fp16` must leave alone.
  std::vector<bool> mask_fits;  ///< Per tensor: out of range only through a mask constant that gets clamped.
  std::vector<int> exponents;   ///< Per tensor: stored as x * 2^-exponent.
  std::vector<std::string> warnings;

  /// The first rule to pin a node gives the reason.
  void PinNode(int node, std::string_view reason, const std::string& evidence);
  /// The tensor is never stored in FP16: its writer and every reader stay FP32.
  void PinTensor(int tensor, std::string_view reason, const std::string& evidence);
  const TensorStats* Stats(int tensor) const { return ranges.Find(index.tensor(tensor).name); }
};

/// "x reaches 123456 in sample 3.npz", or what else makes a tensor unfit.
std::string Evidence(const TensorStats& stats);

/// Whether a tensor's own values forbid storing it in FP16: past the threshold or 65504, infinite, or NaN.
bool Overflows(const TensorStats& stats, double threshold);

}  // namespace halfsafe
