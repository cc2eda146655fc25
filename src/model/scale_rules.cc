#include "model/scale_rules.h"

#include <algorithm>
#include <cmath>

#include "halfsafe/error.h"
#include "model/walk.h"

namespace halfsafe {
namespace {

const ScaleRule* RuleOf(const onnx::NodeProto& node) {
  if (!IsStandard(node.domain())) return nullptr;
  const auto table = ScaleRuleTable();
  const auto found =
      std::lower_bound(table.begin(), table.end(), node.op_type(),
                       [](const ScaleRule& rule, const std::string& name) { return rule.op_type < name; });
  return found != table.end() && found->op_type == node.op_type() ? &*found : nullptr;
}

Port PortOf(std::string_view inputs, size_t slot) {
  const bool repeats = inputs.back() == '*';
  const size_t last = inputs.size() - (repeats ? 2 : 1);
  if (slot <= last) return static_cast<Port>(inputs[slot]);
  return repeats ? static_cast<Port>(inputs[last]) : Port::kTrue;
}

bool IsFp32(const GraphIndex& index, int tensor) {
  return tensor >= 0 && index.tensor(tensor).is_tensor && index.tensor(tensor).dtype == DType::kFloat;
}

/// Forms of an operator that its rule does not describe.
bool OutsideRule(const GraphIndex& index, const NodeInfo& node) {
  const onnx::NodeProto& proto = *node.proto;
  const std::string& op = proto.op_type();
  const auto used = [](const std::vector<int>& tensors, size_t slot) {
    return slot < tensors.size() && tensors[slot] >= 0;
  };
  // In training, or with a mask of ones and zeros that is FP32, as before opset 10.
  if (op == "Dropout")
    return used(node.inputs, 2) || (node.outputs.size() > 1 && IsFp32(index, node.outputs[1]));
  if (op == "BatchNormalization" && IntAttribute(proto, "training_mode", 0) != 0) return true;
  // Statistics have other exponents than the first result, and so have the keys that Attention hands on.
  if (op == "BatchNormalization" || op == "LayerNormalization" || op == "Attention") {
    for (size_t slot = 1; slot < node.outputs.size(); ++slot) {
      if (used(node.outputs, slot)) return true;
    }
  }
  // Roots other than the square root do not commute with rounding.
  if (op.ends_with("LpPool")) return IntAttribute(proto, "p", 2) > 2;
  // Without axes runtimes disagree on whether the values are squared.
  if (op == "ReduceSumSquare") return IntAttribute(proto, "noop_with_empty_axes", 0) != 0;
  if (op.starts_with("Scatter")) {
    const auto* reduction = FindAttribute(proto, "reduction");
    return reduction != nullptr && reduction->s() == "mul";
  }
  return false;
}

int FactorOf(Port port) {
  switch (port) {
    case Port::kPlus:
      return 1;
    case Port::kMinus:
      return -1;
    case Port::kSquare:
      return 2;
    default:
      return 0;
  }
}

}  // namespace

bool IsScalableConstant(const GraphIndex& index, int tensor) {
  if (!IsFp32(index, tensor)) return false;
  const TensorInfo& info = index.tensor(tensor);
  if (info.kind != TensorKind::kConstant) return false;
  if (info.data != nullptr || info.producer < 0) return info.data != nullptr;
  const onnx::NodeProto& node = *index.node(info.producer).proto;
  return FindAttribute(node, "value_float") != nullptr || FindAttribute(node, "value_floats") != nullptr;
}

std::optional<float> ScalableAttribute(const NodeInfo& node, std::string_view name) {
  float value = 0.0f;
  if (const auto* given = FindAttribute(*node.proto, name)) {
    value = given->f();
  } else if (node.schema != nullptr) {
    const auto found = node.schema->attributes().find(std::string(name));
    if (found != node.schema->attributes().end()) value = found->second.default_value.f();
  }
  if (value == 0.0f || std::fabs(value) == std::numeric_limits<float>::max()) return std::nullopt;
  return value;
}

ScaleRules::ScaleRules(const Model& model, const GraphIndex& index) : model_(model), index_(index) {
  returned_as_.resize(index.graphs().size());
  becomes_.resize(index.nodes().size());
  states_.resize(index.nodes().size());
  is_handed_on_.assign(index.tensors().size(), false);
  for (size_t graph = 0; graph < index.graphs().size(); ++graph)
    returned_as_[graph].assign(index.graphs()[graph].outputs.size(), -1);
  for (size_t node = 0; node < index.nodes().size(); ++node) {
    nodes_.push_back(Fit(static_cast<int>(node)));
    if (!index.nodes()[node].bodies.empty()) ReadBodies(static_cast<int>(node));
  }
}

double ScaleRules::PowerOf(const NodeInfo& node) const {
  const int exponent = node.inputs.size() > 1 ? node.inputs[1] : -1;
  if (!IsScalableConstant(index_, exponent) || index_.tensor(exponent).data == nullptr) return NAN;
  const std::vector<float> values = ReadFloats(model_, *index_.tensor(exponent).data);
  return values.size() == 1 ? values[0] : NAN;
}

NodeScaling ScaleRules::Fit(int id) const {
  const NodeInfo& node = index_.node(id);
  NodeScaling scaling;
  const size_t inputs = node.inputs.size();
  scaling.factor.assign(inputs, 0);
  for (const int input : node.inputs)
    scaling.ports.push_back(IsFp32(index_, input) ? Port::kTrue : Port::kIgnored);
  const ScaleRule* rule = RuleOf(*node.proto);
  if (rule == nullptr || OutsideRule(index_, node)) return scaling;

  NodeScaling fitted = scaling;
  fitted.output = rule->output;
  fitted.lowest = rule->lowest;
  fitted.highest = rule->highest;
  for (const ScaledAttribute& attribute : rule->attributes) {
    if (!attribute.name.empty()) fitted.attributes.push_back(attribute);
  }
  for (size_t slot = 0; slot < inputs; ++slot) {
    if (scaling.ports[slot] == Port::kIgnored) continue;
    const Port port = PortOf(rule->inputs, slot);
    fitted.ports[slot] = port;
    fitted.factor[slot] = FactorOf(port);
    const bool constant = IsScalableConstant(index_, node.inputs[slot]);
    // Weights are usually the second operand, and a dividend is as good as a divisor.
    if (constant && (port == Port::kPlus || port == Port::kMinus) && (fitted.absorber < 0 || slot == 1))
      fitted.absorber = static_cast<int>(slot);
    if (port == Port::kVariance && !constant) return scaling;
    // A constant that can't be changed has its true value, and then so has everything tied to it.
    const bool fixed = index_.tensor(node.inputs[slot]).kind == TensorKind::kConstant && !constant;
    if (fixed && port != Port::kTrue && port != Port::kAny) return scaling;
  }
  if (node.proto->op_type() == "Pow") {
    const double power = PowerOf(node);
    // Powers of two stay powers of two for halves and quarters too, where the exponent divides.
    if (!(std::fabs(power) <= 16.0) || power == 0.0 || power * 4.0 != std::floor(power * 4.0)) return scaling;
    int numerator = static_cast<int>(power * 4.0), denominator = 4;
    while (denominator > 1 && numerator % 2 == 0) numerator /= 2, denominator /= 2;
    fitted.output = denominator;
    fitted.factor[0] = numerator;
  }
  // Where no output is FP32, as in comparisons, the sum itself has to be zero.
  if (std::none_of(node.outputs.begin(), node.outputs.end(), [&](int t) { return IsFp32(index_, t); }))
    fitted.output = 0;
  return fitted;
}

void ScaleRules::ReadBodies(int id) {
  const NodeInfo& node = index_.node(id);
  const std::string& op = node.proto->op_type();
  const bool batched = op == "Scan" && node.schema != nullptr && node.schema->SinceVersion() < 9;
  if ((op != "If" && op != "Loop" && op != "Scan") || batched) return;
  const auto pair_up = [&](int a, int b) {
    if (!IsFp32(index_, a) || !IsFp32(index_, b)) return;
    handed_on_.emplace_back(a, b);
    is_handed_on_[static_cast<size_t>(a)] = is_handed_on_[static_cast<size_t>(b)] = true;
  };
  becomes_[static_cast<size_t>(id)].assign(node.inputs.size(), -1);
  // A Loop's body returns whether to go on before anything else.
  const size_t first = op == "Loop" ? 1 : 0;
  for (const int body : node.bodies) {
    const GraphInfo& graph = index_.graphs()[static_cast<size_t>(body)];
    for (size_t slot = first; slot < graph.outputs.size() && slot - first < node.outputs.size(); ++slot) {
      const int outer = node.outputs[slot - first];
      returned_as_[static_cast<size_t>(body)][slot] = outer;
      pair_up(graph.outputs[slot], outer);
    }
    if (op == "If") continue;
    const size_t states =
        op == "Loop"
            ? node.inputs.size()
            : node.inputs.size() - static_cast<size_t>(IntAttribute(*node.proto, "num_scan_inputs", 0));
    for (size_t slot = op == "Loop" ? 2 : 0; slot < node.inputs.size() && slot < graph.inputs.size();
         ++slot) {
      becomes_[static_cast<size_t>(id)][slot] = graph.inputs[slot];
      pair_up(node.inputs[slot], graph.inputs[slot]);
      const size_t returned = op == "Loop" ? slot - 1 : slot;
      if (slot >= states || returned >= graph.outputs.size()) continue;
      // A state comes back into the body, and is a result in the end.
      returned_as_[static_cast<size_t>(body)][returned] = graph.inputs[slot];
      pair_up(graph.outputs[returned], graph.inputs[slot]);
      if (returned - first >= node.outputs.size()) continue;
      const int result = node.outputs[returned - first];
      pair_up(graph.inputs[slot], result);
      if (IsFp32(index_, result)) states_[static_cast<size_t>(id)].emplace_back(graph.inputs[slot], result);
    }
  }
}

int ScaleRules::OneExponent(const NodeInfo& node, const Exponents& exponents) const {
  std::optional<int> output;
  for (const int tensor : node.outputs) {
    if (!IsFp32(index_, tensor)) continue;
    const int exponent = exponents[static_cast<size_t>(tensor)];
    if (output && *output != exponent) {
      throw BadInput("the results of node " + node.name + " (" + node.proto->op_type() +
                     ") need one exponent, and the plan gives them several");
    }
    output = exponent;
  }
  return output.value_or(0);
}

std::vector<int> ScaleRules::OperandExponents(int id, const Exponents& exponents) const {
  const NodeInfo& node = index_.node(id);
  const NodeScaling& scaling = of(id);
  std::vector<int> read(node.inputs.size(), 0);
  const auto stored = [&](size_t slot) { return exponents[static_cast<size_t>(node.inputs[slot])]; };
  if (!node.bodies.empty()) {
    const auto& becomes = becomes_[static_cast<size_t>(id)];
    for (size_t slot = 0; slot < becomes.size(); ++slot) {
      if (becomes[slot] >= 0) read[slot] = exponents[static_cast<size_t>(becomes[slot])];
    }
    for (const auto& [state, result] : states_[static_cast<size_t>(id)]) {
      if (exponents[static_cast<size_t>(state)] == exponents[static_cast<size_t>(result)]) continue;
      throw BadInput("node " + node.name + " (" + node.proto->op_type() +
                     ") returns what its body reads as " + index_.tensor(state).name +
                     ", and the plan gives the two different exponents");
    }
    return read;
  }
  const int output = scaling.output == 0 ? 0 : OneExponent(node, exponents);
  const bool sums = std::any_of(scaling.factor.begin(), scaling.factor.end(), [](int f) { return f != 0; });
  int left = sums ? scaling.output * output : 0;  // What the sum of inputs must come to.
  for (size_t slot = 0; slot < read.size(); ++slot) {
    const Port port = scaling.ports[slot];
    if (port == Port::kIgnored || port == Port::kTrue) continue;
    const bool constant = index_.tensor(node.inputs[slot]).kind == TensorKind::kConstant;
    if (port == Port::kTied) {
      read[slot] = output;
    } else if (port == Port::kVariance) {
      read[slot] = stored(slot);
      left += stored(slot) / 2;  // BatchNormalization, which has a sum.
    } else if (!constant) {
      read[slot] = stored(slot);
      left -= scaling.factor[slot] * stored(slot);
    }
  }
  if (scaling.absorber >= 0) {
    const size_t slot = static_cast<size_t>(scaling.absorber);
    read[slot] = left * scaling.factor[slot];  // The factor is 1 or -1.
    left = 0;
  }
  // What no constant takes, a multiplication in front of an input has to.
  for (size_t slot = 0; slot < read.size() && left != 0; ++slot) {
    if (scaling.factor[slot] == 0 || left % scaling.factor[slot] != 0) continue;
    read[slot] += left / scaling.factor[slot];
    left = 0;
  }
  if (left != 0) {
    throw BadInput("the exponents around node " + node.name + " (" + node.proto->op_type() +
                   ") don't fit together: its output can't have the exponent that the plan gives it");
  }
  for (size_t slot = 1; slot < read.size(); ++slot) {
    if (scaling.ports[slot] == Port::kLikeFirst) read[slot] = read[0];
  }
  return read;
}

int ScaleRules::ReturnedExponent(int graph, int slot, const Exponents& exponents) const {
  const int outer = returned_as_[static_cast<size_t>(graph)][static_cast<size_t>(slot)];
  return outer < 0 ? 0 : exponents[static_cast<size_t>(outer)];
}

bool ScaleRules::CanScale(int tensor) const {
  if (!IsFp32(index_, tensor)) return false;
  const TensorInfo& info = index_.tensor(tensor);
  if (info.kind == TensorKind::kConstant) {
    return std::any_of(info.uses.begin(), info.uses.end(), [&](const TensorUse& use) {
      return of(use.node).ports[static_cast<size_t>(use.slot)] == Port::kVariance;
    });
  }
  if (info.kind == TensorKind::kBodyInput ||
      (info.producer >= 0 && !index_.node(info.producer).bodies.empty()))
    return is_handed_on_[static_cast<size_t>(tensor)];
  return info.producer >= 0 && of(info.producer).output != 0;
}

}  // namespace halfsafe
