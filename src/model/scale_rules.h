#pragma once

#include <limits>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "model/graph_index.h"

namespace halfsafe {

// A tensor with exponent e is stored as x * 2^-e. Multiplying by a power of two commutes with FP32 rounding
// as long as nothing overflows or goes subnormal, so where operators and constants hand the factor on, every
// FP32 result stays bit for bit what it was. This file says how each operator does; docs/rules.md has the
// derivations.

/// How a node takes the exponent of one of its inputs. The character is the one in the table.
enum class Port : char {
  kIgnored = ' ',    ///< Not an FP32 tensor.
  kTrue = '1',       ///< Needs the true value: exponent 0.
  kAny = '?',        ///< Takes any exponent; attributes make up for it, or nothing has to.
  kTied = '=',       ///< Has the output's exponent.
  kLikeFirst = '0',  ///< Has input 0's exponent.
  kPlus = '+',       ///< Adds to the output's exponent.
  kMinus = '-',      ///< Takes away from the output's exponent.
  kSquare = '2',     ///< Adds twice.
  kPower = 'p',      ///< Adds as often as the constant exponent of Pow says.
  kVariance = 'v',   ///< A BatchNormalization's variance: takes half away, and is even.
};

/// An attribute that is written times 2^(times * exponent of an input).
struct ScaledAttribute {
  std::string_view name;
  int times = 0;
  size_t input = 0;
};

/// One operator of the table.
struct ScaleRule {
  std::string_view op_type;
  /// A Port per input; an input behind the last is like the last one where '*' follows it, else kTrue.
  std::string_view inputs;
  /// The output's exponent times this is the sum over inputs; 0: the output always has its true value.
  int output = 1;
  ScaledAttribute attributes[2] = {};
  /// The result has the same bits for any input below or above these: there an input may be clamped.
  double lowest = -std::numeric_limits<double>::infinity();
  double highest = std::numeric_limits<double>::infinity();
};

/// All rules, sorted by operator. What has none needs and gives true values.
std::span<const ScaleRule> ScaleRuleTable();

/// The rule of one node, fitted to its operands.
struct NodeScaling {
  std::vector<Port> ports;  ///< Per input.
  std::vector<int> factor;  ///< Per input: how often its exponent adds to the output's; 0 outside the sum.
  int output = 0;           ///< As in ScaleRule.
  int absorber = -1;        ///< A constant input that takes whatever the sum leaves; -1 where there is none.
  std::vector<ScaledAttribute> attributes;
  double lowest = -std::numeric_limits<double>::infinity();
  double highest = std::numeric_limits<double>::infinity();

  bool Saturates() const { return highest < std::numeric_limits<double>::infinity(); }
};

/// The exponent that a tensor is stored with: per tensor of the index. Constants have theirs at each reader;
/// here it is 0 but for variances.
using Exponents = std::vector<int>;

/// How exponents pass through every node of a model.
class ScaleRules {
 public:
  ScaleRules(const Model& model, const GraphIndex& index);

  const NodeScaling& of(int node) const { return nodes_[static_cast<size_t>(node)]; }
  /// The exponents that a node reads its inputs with, given those of all tensors. Where an activation is
  /// stored with another one, a multiplication has to stand between.
  std::vector<int> OperandExponents(int node, const Exponents& exponents) const;
  /// The exponent that output `slot` of a graph is returned with.
  int ReturnedExponent(int graph, int slot, const Exponents& exponents) const;
  /// The tensors that must have one exponent because control flow hands values from one to the other.
  const std::vector<std::pair<int, int>>& handed_on() const { return handed_on_; }
  /// Whether the tensor can have an exponent other than 0: an FP32 result that isn't always a true value, or
  /// a variance.
  bool CanScale(int tensor) const;

 private:
  NodeScaling Fit(int node) const;
  double PowerOf(const NodeInfo& node) const;
  /// The exponent of all FP32 results of a node. Throws where they have several.
  int OneExponent(const NodeInfo& node, const Exponents& exponents) const;
  void ReadBodies(int node);

  const Model& model_;
  const GraphIndex& index_;
  std::vector<NodeScaling> nodes_;
  std::vector<std::pair<int, int>> handed_on_;
  std::vector<bool> is_handed_on_;  ///< Per tensor.
  /// Per graph and output: the tensor outside whose exponent it is returned with; -1 for none.
  std::vector<std::vector<int>> returned_as_;
  /// Per control flow node and input: the body's tensor that it becomes; -1 for none.
  std::vector<std::vector<int>> becomes_;
  /// Per control flow node: the body's tensor of each state that goes around, and the node's result.
  std::vector<std::vector<std::pair<int, int>>> states_;
};

/// What a scaled attribute of the node is worth: its value, or the schema's default; nothing where it has
/// neither, or zero, which no factor changes.
std::optional<float> ScalableAttribute(const NodeInfo& node, std::string_view name);

/// Whether the tensor is an FP32 constant whose values can be scaled.
bool IsScalableConstant(const GraphIndex& index, int tensor);

}  // namespace halfsafe
