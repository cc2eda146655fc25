#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "halfsafe/model.h"
#include "halfsafe/ranges.h"

namespace halfsafe {

/// What a node computes from and stores its floating-point results as.
enum class Precision { kFp16, kBf16, kFp32 };

/// "fp16", "bf16" or "fp32".
std::string_view PrecisionName(Precision precision);

/// What to do with one node, and why.
struct NodePlan {
  std::string name;                        ///< The node's; inside bodies a path.
  Precision precision = Precision::kFp32;  ///< What it runs in.
  std::string reason;    ///< One of the names in docs/rules.md ("safe", "overflow", "no-half-type", ...).
  std::string evidence;  ///< Tensor, value and sample behind the reason.
};

/// A tensor stored as x * 2^-exponent.
struct TensorPlan {
  std::string name;  ///< The tensor's; inside bodies a path.
  int exponent = 0;  ///< Positive: stored smaller than it is.
};

/// A constant whose values are changed before they are stored.
struct ConstantPlan {
  std::string name;             ///< The constant's; inside bodies a path.
  std::optional<double> clamp;  ///< Values beyond +-clamp become +-clamp.
  /// Where FP16 would make a value zero, it becomes FP16's smallest: an epsilon stays one.
  bool keep_nonzero = false;
  std::string reason;    ///< One of the names in docs/rules.md.
  std::string evidence;  ///< What shows that results stay what they are.
};

/// An input or output of the model that changes its type.
struct IoPlan {
  std::string name;                        ///< The input's or output's.
  Precision precision = Precision::kFp16;  ///< The type that it gets.
};

/// What to do about a model. Nodes that the plan doesn't name stay as they are, so an empty plan changes
/// nothing.
struct Plan {
  std::string model_sha256;           ///< Of the model that it is for.
  std::optional<int> opset;           ///< That the model has to be raised to before the plan is applied.
  bool lift_clamps = false;           ///< Model::LiftClamps has to be called before.
  Precision half = Precision::kFp16;  ///< The 16-bit type that nodes have where nothing speaks against it.
  std::vector<NodePlan>
      nodes;  ///< Every node with floating-point tensors that could be stored in FP16, in graph order.
  std::vector<TensorPlan> tensors;      ///< Those stored times a power of two; the others are as they are.
  std::vector<ConstantPlan> constants;  ///< Those whose values change.
  std::vector<IoPlan> io;               ///< Inputs and outputs that change their type.
  std::vector<std::string> warnings;    ///< What a user should know, in sentences.

  /// Nodes of one precision, in graph order.
  std::vector<const NodePlan*> NodesIn(Precision precision) const;
  /// Whether no node is in 16 bits.
  bool OnlyFp32() const;
};

/// What a node, or a fused layer named "a + b" after its nodes, takes on a GPU in microseconds.
struct NodeLatency {
  std::string name;               ///< Of the node, or of the layer.
  double fp16_us = 0.0;           ///< In FP16.
  double fp32_us = 0.0;           ///< In FP32.
  std::optional<double> bf16_us;  ///< Where not given: FP16's and a sixteenth of the difference to FP32's.
};

/// Latencies measured on the user's GPU. They take the place of the estimates that the plan's costs are
/// otherwise (docs/rules.md, "The minimum cut"); nodes that are not named keep theirs.
struct Latencies {
  std::string model_sha256;            ///< Of the model that they were measured on; empty: there are none.
  double batch = 1.0;                  ///< How many samples one measured inference took.
  std::optional<double> cast_us;       ///< What a Cast costs beside its memory traffic.
  std::optional<double> bytes_per_us;  ///< The GPU's memory bandwidth, bytes per microsecond.
  std::vector<NodeLatency> nodes;      ///< Those that were measured.
};

/// How tensors that overflow are repaired.
enum class Repair {
  kRescale,  ///< Stored times a power of two where that works, kept in FP32 elsewhere.
  kFp32,     ///< Kept in FP32.
  /// Kept in BF16 where the opset has it for the node and nothing but FP16's range speaks against 16 bits;
  /// in FP32 elsewhere.
  kBf16,
};

/// Which types the inputs and outputs of the result have.
enum class Interface {
  kKeep,  ///< Those that the model's file has.
  kFp16,  ///< FP16 for floating-point ones where their range allows.
  kFp32,  ///< FP32 in place of 16-bit ones.
};

/// What a plan is made by.
struct PlanOptions {
  /// The 16-bit type that nodes get, kFp16 or kBf16. BF16 has FP32's range, so nothing has to be repaired.
  Precision half = Precision::kFp16;
  Repair repair = Repair::kRescale;  ///< How overflow is repaired.
  double threshold = 10000.0;        ///< Nothing past this, as it is stored, is FP16.
  double margin = 2048.0;  ///< Rescaled tensors stay within this where they can, or else the threshold.
  Interface io = Interface::kKeep;  ///< Types of inputs and outputs.
  bool accumulate_fp16 = false;     ///< Count partial sums past 65504 as overflows.
  /// Casts cost nothing, as for compilers that fuse them: a node is FP32 only for a reason of its own.
  bool free_casts = false;
  std::vector<std::string> keep_nodes;  ///< Regular expressions on node names: these stay FP32.
  std::vector<std::string> keep_ops;    ///< Operator types that stay FP32.
  Latencies latencies;                  ///< Empty: costs are estimated.
};

/// What is worth knowing before a long scan: throws Error(kUsage) when a regular expression in the options
/// isn't one or options contradict one another, Error(kBadInput) when the latencies are of another model.
void CheckPlanOptions(const Model& model, const PlanOptions& options);

/// Decides which nodes run in FP16: a tensor that overflows is FP32 for its producer and every reader, and
/// beyond what must be FP32 the cheapest assignment, Casts counted (an exact minimum cut). Throws
/// Error(kBadInput) when `ranges` or `options.latencies` are of another model, Error(kUsage) for a bad
/// regular expression. Nodes that `widened`, an earlier plan of the model with these options, keeps in FP32
/// for their error stay there, and the others are assigned anew around them.
Plan MakePlan(const Model& model, const RangeTable& ranges, const PlanOptions& options,
              const Plan* widened = nullptr);

/// The plan for a model of which no node can be in this 16-bit type, whatever its tensors hold; nothing for
/// any other.
std::optional<Plan> PlanForNothing(const Model& model, Precision half);

/// Leaves out of a plan without nodes in 16 bits what only such nodes need: exponents, and changes of
/// constants. Returns whether there was any.
bool DropUnused(Plan* plan);

/// The plan that plain converters follow: FP16 wherever the operator has it. Weights past the range become
/// +-65504, as everywhere when Apply converts them. A model that is in 16 bits already is compared as it is
/// (Model::AsStored), not by this.
Plan PlainFp16Plan(const Model& model);

/// Everything the plan says of one node, in sentences. Throws Error(kUsage), with the nearest name, for an
/// unknown node.
std::string Explain(const Model& model, const RangeTable& ranges, const Plan& plan, const std::string& node);

/// Names of the tensors that overflow: past the threshold, or with infinite values or NaN; in graph order.
std::vector<std::string> OverflowingTensors(const RangeTable& ranges, double threshold);

/// A halfsafe-latencies file (docs/formats.md).
std::string ToJson(const Latencies& table);
/// A halfsafe-plan file.
std::string ToJson(const Plan& plan);
/// Reads a halfsafe-plan file. Throws Error(kBadInput) that names `where` and what is wrong.
Plan PlanFromJson(std::string_view text, std::string_view where);

/// Reads a halfsafe-latencies file (docs/formats.md). Throws Error(kBadInput) that names `where` and what is
/// wrong.
Latencies LatenciesFromJson(std::string_view text, std::string_view where);

}  // namespace halfsafe
