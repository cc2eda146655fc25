#pragma once

#include <set>
#include <string>
#include <utility>
#include <vector>

#include "halfsafe/plan.h"
#include "model/graph_index.h"
#include "model/precision_ports.h"
#include "model/scale_rules.h"

namespace halfsafe {

/// Why a node stays FP32.
struct Pin {
  std::string reason;  ///< Empty: free.
  std::string evidence;
  bool range = false;  ///< Only FP16's range speaks against it: BF16, with FP32's range, would do.
};

/// What the rules read, and where they leave their findings.
struct PlanContext {
  const Model& model;
  const GraphIndex& index;
  const PrecisionPorts& ports;
  const ScaleRules& scales;
  const RangeTable& ranges;
  const PlanOptions& options;

  std::vector<Pin> pins;  ///< Per node.
  std::vector<ConstantPlan> constants;
  std::vector<bool>
      io_stays_fp32;            ///< Per tensor: an input or output that Interface::kFp16 must leave alone.
  std::vector<bool> mask_fits;  ///< Per tensor: out of range only through a mask constant that gets clamped.
  Exponents exponents;          ///< Per tensor: stored as x * 2^-exponent.
  std::vector<std::vector<int>> read_exponents;  ///< Per node and input: what it reads it with.
  /// Constants that would vanish but guard a sum, and the node that adds them: written as 2^-24 instead.
  std::set<std::pair<int, int>> guards;
  std::vector<std::string> warnings;

  /// The rule whose turn it is.
  bool range_rule = false;

  /// The first rule to pin a node gives the reason; BF16 is ruled out by any rule that is not about range.
  void PinNode(int node, std::string_view reason, const std::string& evidence);
  /// The tensor is never stored in FP16: its writer and every reader are pinned.
  void PinTensor(int tensor, std::string_view reason, const std::string& evidence);
  /// The exponent that reader `reader` of the tensor (see TensorPorts::readers) reads it with.
  int ReadExponent(int tensor, size_t reader) const;
  const TensorStats* Stats(int tensor) const { return ranges.Find(index.tensor(tensor).name); }
};

/// ", stored times 2^-5", or nothing for an exponent of 0.
std::string StoredTimes(int exponent);

/// "x reaches 123456 in sample 3.npz": what makes a tensor unfit to be stored as x * 2^-exponent.
std::string Evidence(const TensorStats& stats, int exponent = 0);

/// Whether a tensor's finite values forbid storing x * 2^-exponent in FP16. Infinity and NaN it holds as they
/// are.
bool PassesThreshold(const TensorStats& stats, double threshold, int exponent);

/// What is shown as overflow: values past the threshold, infinite, or NaN.
bool Overflows(const TensorStats& stats, double threshold);

}  // namespace halfsafe
