#include "plan/exponents.h"

#include <algorithm>
#include <limits>
#include <map>
#include <set>

#include "model/op_traits.h"
#include "plan/exponent_costs.h"
#include "plan/integer_system.h"

namespace halfsafe {
namespace {

/// In added nodes: a reader that has to be FP32, Cast and multiplication included.
constexpr double kFp32Reader = 4.0;
/// In added nodes: a clamp and a multiplication.
constexpr double kClampedReader = 2.0;

/// The exponents of a model as an integer problem: a variable for every result that can have one.
class ExponentProblem {
 public:
  explicit ExponentProblem(const PlanContext& context)
      : context_(context),
        index_(context.index),
        limits_{context.options.margin, context.options.threshold},
        variable_(context.index.tensors().size(), -1) {
    MakeVariables();
    for (size_t node = 0; node < index_.nodes().size(); ++node) JoinTied(static_cast<int>(node));
    for (const auto& [a, b] : context.scales.handed_on()) {
      if (variable_[static_cast<size_t>(a)] >= 0 && variable_[static_cast<size_t>(b)] >= 0) Join(a, b);
    }
    for (size_t node = 0; node < index_.nodes().size(); ++node) AddSum(static_cast<int>(node));
    FixMasks();
    for (size_t node = 0; node < index_.nodes().size(); ++node) AddNodeCosts(static_cast<int>(node));
    AddResultCosts();
    for (size_t tensor = 0; tensor < variable_.size(); ++tensor) AddReaderCosts(static_cast<int>(tensor));
  }

  Exponents Solve() {
    for (CostTerm& term : terms_) term.sum = system_.Resolve(term.sum);
    std::erase_if(terms_, [](const CostTerm& term) { return term.sum.empty(); });
    const std::vector<int> values = MinimizeByCoordinates(variables_, slacks_, terms_);
    const auto value_of = [&](int variable) {
      int value = 0;
      for (const LinearTerm& term : system_.Resolve({{variable, 1}}))
        value += term.factor * values[static_cast<size_t>(term.variable)];
      return value;
    };
    Exponents exponents(variable_.size(), 0);
    for (size_t tensor = 0; tensor < variable_.size(); ++tensor) {
      if (variable_[tensor] < 0) continue;
      const bool variance = index_.tensors()[tensor].kind == TensorKind::kConstant;
      exponents[tensor] = value_of(variable_[tensor]) * (variance ? 2 : 1);
    }
    return exponents;
  }

 private:
  int Variable(int tensor) const { return tensor < 0 ? -1 : variable_[static_cast<size_t>(tensor)]; }
  void Join(int a, int b) { system_.Join(Variable(a), Variable(b)); }

  /// Slacks come first: equations are solved for their last variable, and that shall be a result.
  void MakeVariables() {
    slack_.assign(index_.nodes().size(), -1);
    for (size_t id = 0; id < index_.nodes().size(); ++id) {
      const NodeScaling& scaling = context_.scales.of(static_cast<int>(id));
      if (scaling.absorber >= 0 || SlackSlot(static_cast<int>(id)) < 0) continue;
      slack_[id] = system_.AddVariable();
      ++slacks_;
    }
    variables_ = slacks_;
    for (size_t tensor = 0; tensor < variable_.size(); ++tensor) {
      if (!context_.scales.CanScale(static_cast<int>(tensor))) continue;
      variable_[tensor] = system_.AddVariable();
      ++variables_;
    }
  }

  /// The variable of a node's FP32 results, which have one exponent; -1 where they have true values.
  int OutputVariable(const NodeInfo& node) const {
    for (const int tensor : node.outputs) {
      if (Variable(tensor) >= 0) return Variable(tensor);
    }
    return -1;
  }

  /// The input that a multiplication in front of the node would change: the one to which
  /// ScaleRules::OperandExponents gives what is left over; -1 for none.
  int SlackSlot(int id) const {
    const std::vector<int>& factor = context_.scales.of(id).factor;
    const auto first = std::find_if(factor.begin(), factor.end(), [](int f) { return f != 0; });
    return first == factor.end() ? -1 : static_cast<int>(first - factor.begin());
  }

  void JoinTied(int id) {
    const NodeInfo& node = index_.node(id);
    if (!node.bodies.empty()) return;
    const NodeScaling& scaling = context_.scales.of(id);
    const int output = OutputVariable(node);
    for (const int tensor : node.outputs) {
      if (Variable(tensor) >= 0) system_.Join(output, Variable(tensor));
    }
    for (size_t slot = 0; slot < node.inputs.size(); ++slot) {
      const int variable = Variable(node.inputs[slot]);
      if (variable < 0) continue;
      if (scaling.ports[slot] == Port::kTied && output >= 0) system_.Join(output, variable);
      if (scaling.ports[slot] == Port::kLikeFirst && Variable(node.inputs[0]) >= 0)
        system_.Join(Variable(node.inputs[0]), variable);
    }
  }

  /// The sum of a node's operands less its output, without the constant that takes up the difference.
  LinearSum Difference(const NodeInfo& node, const NodeScaling& scaling) const {
    std::map<int, int> factors;
    for (size_t slot = 0; slot < node.inputs.size(); ++slot) {
      const int variable = Variable(node.inputs[slot]);
      if (variable < 0) continue;
      if (scaling.ports[slot] == Port::kVariance) factors[variable] -= 1;
      factors[variable] += scaling.factor[slot];
    }
    if (const int output = OutputVariable(node); output >= 0) factors[output] -= scaling.output;
    LinearSum sum;
    for (const auto& [variable, factor] : factors) {
      if (factor != 0) sum.push_back({variable, factor});
    }
    return sum;
  }

  void AddSum(int id) {
    const NodeInfo& node = index_.node(id);
    const NodeScaling& scaling = context_.scales.of(id);
    const int slack = slack_[static_cast<size_t>(id)];
    if (slack < 0) return;
    const size_t slot = static_cast<size_t>(SlackSlot(id));
    LinearSum sum = Difference(node, scaling);
    AddTo(&sum, {{slack, 1}}, scaling.factor[slot]);
    system_.Require(sum, slack);
    AddTerm({{slack, 1}}, InsertionCost(1.0));
    const TensorStats* stats = context_.Stats(node.inputs[slot]);
    if (stats == nullptr) return;
    LinearSum read = {{slack, 1}};
    if (const int variable = Variable(node.inputs[slot]); variable >= 0) AddTo(&read, {{variable, 1}}, 1);
    AddTerm(std::move(read), OverflowCost(*stats, limits_));
  }

  /// The proof that a mask may be made smaller holds for true values.
  void FixMasks() {
    for (size_t tensor = 0; tensor < variable_.size(); ++tensor) {
      if (context_.mask_fits[tensor] && variable_[tensor] >= 0) system_.Require({{variable_[tensor], 1}});
    }
  }

  void AddTerm(LinearSum sum, CostTable cost) { terms_.push_back({std::move(sum), std::move(cost)}); }

  /// What constants and attributes of a node pay, and multiplications in front of what is tied to it.
  void AddNodeCosts(int id) {
    const NodeInfo& node = index_.node(id);
    const NodeScaling& scaling = context_.scales.of(id);
    const int output = OutputVariable(node);
    for (size_t slot = 0; slot < node.inputs.size(); ++slot) {
      const int tensor = node.inputs[slot];
      const Port port = scaling.ports[slot];
      if (tensor < 0 || port == Port::kIgnored || port == Port::kTrue) continue;
      const bool constant = index_.tensor(tensor).kind == TensorKind::kConstant;
      const TensorStats* stats = context_.Stats(tensor);
      if (static_cast<int>(slot) == scaling.absorber && stats != nullptr) {
        LinearSum sum;  // absorber's factor * its exponent + difference = 0, and the factor is 1 or -1.
        AddTo(&sum, Difference(node, scaling), -scaling.factor[slot]);
        AddTerm(std::move(sum), ConstantCost(*stats, false));
      } else if (port == Port::kTied && output >= 0 && constant && stats != nullptr) {
        AddTerm({{output, 1}}, ConstantCost(*stats, true));
      } else if (port == Port::kTied && output >= 0 && !constant && Variable(tensor) < 0) {
        if (multiplied_.emplace(tensor, system_.Representative(output)).second)
          AddTerm({{output, 1}}, InsertionCost(1.0));
      } else if (port == Port::kLikeFirst && constant && Variable(node.inputs[0]) >= 0 && stats != nullptr) {
        AddTerm({{Variable(node.inputs[0]), 1}}, ConstantCost(*stats, true));
      } else if (port == Port::kVariance && stats != nullptr) {
        // Its variable stands for half of its exponent.
        const CostTable halves = ConstantCost(*stats, false);
        CostTable cost(halves.size(), std::numeric_limits<float>::infinity());
        for (int e = -kLargestExponent / 2; e <= kLargestExponent / 2; ++e)
          cost[static_cast<size_t>(e + kLargestExponent)] =
              halves[static_cast<size_t>(2 * e + kLargestExponent)];
        AddTerm({{Variable(tensor), 1}}, std::move(cost));
      }
    }
    if (context_.options.accumulate_fp16) AddSumCost(node, output);
    for (const ScaledAttribute& attribute : scaling.attributes) {
      const int variable = attribute.input < node.inputs.size() ? Variable(node.inputs[attribute.input]) : -1;
      const bool variance = variable >= 0 && scaling.ports[attribute.input] == Port::kVariance;
      const auto value = ScalableAttribute(node, attribute.name);
      if (variable >= 0 && value)
        AddTerm({{variable, 1}}, AttributeCost(*value, attribute.times * (variance ? 2 : 1)));
    }
  }

  bool AtPole(int tensor) const {
    const auto& uses = index_.tensor(tensor).uses;
    return std::any_of(uses.begin(), uses.end(), [&](const TensorUse& use) {
      return TraitsOf(*index_.node(use.node).proto).pole == use.slot;
    });
  }

  /// Sums of squares carry twice the input's exponent, whatever becomes of them; other sums the result's.
  void AddSumCost(const NodeInfo& node, int output) {
    const TensorStats* stats =
        node.outputs.empty() || node.outputs[0] < 0 ? nullptr : context_.Stats(node.outputs[0]);
    if (stats == nullptr || !stats->sum_bound) return;
    const bool squares = TraitsOf(*node.proto).sums == Sums::kSquares;
    const int variable = squares ? Variable(node.inputs[0]) : output;
    if (variable >= 0) AddTerm({{variable, squares ? 2 : 1}}, SumCost(*stats));
  }

  /// One term for all tensors of one exponent: the worst of them counts.
  void AddResultCosts() {
    std::map<int, CostTable> worst;
    for (size_t tensor = 0; tensor < variable_.size(); ++tensor) {
      const TensorStats* stats = variable_[tensor] < 0 ? nullptr : context_.Stats(static_cast<int>(tensor));
      if (stats == nullptr || index_.tensors()[tensor].kind == TensorKind::kConstant) continue;
      CostTable cost = ResultCost(*stats, limits_, AtPole(static_cast<int>(tensor)));
      CostTable& together = worst.try_emplace(system_.Representative(variable_[tensor]), cost).first->second;
      for (size_t i = 0; i < cost.size(); ++i) together[i] = std::max(together[i], cost[i]);
    }
    for (auto& [variable, cost] : worst) AddTerm({{variable, 1}}, std::move(cost));
  }

  /// What it costs to hand true values to readers that need them: one multiplication for all of them, and
  /// FP32 where the value doesn't fit.
  void AddReaderCosts(int tensor) {
    const int variable = Variable(tensor);
    const TensorInfo& info = index_.tensor(tensor);
    if (variable < 0 || info.kind == TensorKind::kConstant) return;
    bool needed = info.graph == 0 && info.graph_output, saturates = !needed;
    for (const TensorUse& use : info.uses) {
      const NodeScaling& scaling = context_.scales.of(use.node);
      if (!index_.node(use.node).bodies.empty() ||
          scaling.ports[static_cast<size_t>(use.slot)] != Port::kTrue)
        continue;
      needed = true;
      saturates = saturates && scaling.Saturates();
    }
    if (!needed) return;
    const TensorStats* stats = context_.Stats(tensor);
    const bool fits = stats == nullptr || stats->abs_max <= limits_.threshold;
    AddTerm({{variable, 1}}, InsertionCost(saturates ? kClampedReader : fits ? 1.0 : kFp32Reader));
  }

  const PlanContext& context_;
  const GraphIndex& index_;
  Limits limits_;
  IntegerSystem system_;
  size_t variables_ = 0, slacks_ = 0;
  std::vector<int> slack_;     ///< Per node: a multiplication in front of it; -1 where a constant absorbs it.
  std::vector<int> variable_;  ///< Per tensor; -1: always its true value, or a constant.
  std::set<std::pair<int, int>>
      multiplied_;  ///< Tensors with true values, and the variable they are tied to.
  std::vector<CostTerm> terms_;
};

}  // namespace

void ChooseExponents(PlanContext* context) {
  const bool rescale =
      context->options.half == Precision::kFp16 && context->options.repair == Repair::kRescale;
  context->exponents.assign(context->index.tensors().size(), 0);
  if (rescale) context->exponents = ExponentProblem(*context).Solve();
  for (size_t node = 0; node < context->index.nodes().size(); ++node) {
    context->read_exponents.push_back(
        context->scales.OperandExponents(static_cast<int>(node), context->exponents));
  }
}

}  // namespace halfsafe
