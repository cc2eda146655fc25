#include "plan/rules.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <set>

#include "base/pattern.h"
#include "base/text.h"
#include "halfsafe/error.h"
#include "halfsafe/half.h"
#include "model/op_traits.h"
#include "model/shape_only.h"
#include "observe/folded.h"

namespace halfsafe {
namespace {

void PinnedByUser(PlanContext* context, std::string_view name) {
  for (const std::string& pattern : context->options.keep_nodes) {
    const NamePattern wanted("--keep", pattern);
    bool found = false;
    for (size_t node = 0; node < context->index.nodes().size(); ++node) {
      if (!wanted.Matches(context->index.nodes()[node].name)) continue;
      found = true;
      context->PinNode(static_cast<int>(node), name, fmt::format("--keep '{}'", pattern));
    }
    if (!found) {
      std::vector<std::string> names;
      for (const NodeInfo& node : context->index.nodes()) names.push_back(node.name);
      context->warnings.push_back(
          fmt::format("--keep '{}' matches no node{}", pattern, DidYouMean(pattern, names)));
    }
  }
  for (const std::string& op : context->options.keep_ops) {
    bool found = false;
    for (size_t node = 0; node < context->index.nodes().size(); ++node) {
      if (context->index.nodes()[node].proto->op_type() != op) continue;
      found = true;
      context->PinNode(static_cast<int>(node), name, fmt::format("--keep-op {}", op));
    }
    if (!found) {
      std::vector<std::string> ops;
      for (const NodeInfo& node : context->index.nodes()) ops.push_back(node.proto->op_type());
      context->warnings.push_back(
          fmt::format("--keep-op {}: the model has no such operator{}", op, DidYouMean(op, ops)));
    }
  }
}

void NoHalfType(PlanContext* context, std::string_view name) {
  for (size_t node = 0; node < context->index.nodes().size(); ++node) {
    const int id = static_cast<int>(node);
    const std::string why = WhyNoHalfType(context->index, context->ports, id, context->options.half);
    if (!why.empty()) context->PinNode(id, name, why);
  }
}

/// Whether everything that a float tensor is computed from is a shape, an integer or a constant; collects the
/// nodes.
bool FromShapesOnly(const PlanContext& context, int tensor, std::set<int>* nodes) {
  constexpr size_t kMostNodes = 256, kMostOperands = 4096;  // Longer computations are no index arithmetic.
  std::vector<int> open = {tensor};
  for (size_t operands = 0; !open.empty();) {
    const TensorInfo& info = context.index.tensor(open.back());
    open.pop_back();
    if (info.kind == TensorKind::kConstant ||
        (info.is_tensor && info.dtype != DType::kUndefined && !IsFloat(info.dtype)))
      continue;
    if (info.kind != TensorKind::kActivation || nodes->size() >= kMostNodes) return false;
    const NodeInfo& node = context.index.node(info.producer);
    if (!node.bodies.empty()) return false;
    if (!nodes->insert(info.producer).second) continue;
    operands += node.inputs.size();
    if (operands > kMostOperands) return false;
    for (const int input : node.inputs) {
      if (input >= 0) open.push_back(input);
    }
  }
  return true;
}

/// Sizes and positions computed in float must stay whole numbers: FP16 holds those only up to 2048.
void IndexArithmetic(PlanContext* context, std::string_view name) {
  for (size_t id = 0; id < context->index.nodes().size(); ++id) {
    const NodeInfo& node = context->index.nodes()[id];
    const bool cast = node.proto->op_type() == "Cast" && node.schema != nullptr && !node.inputs.empty() &&
                      !node.outputs.empty();
    if (!cast || node.inputs[0] < 0 || node.outputs[0] < 0) continue;
    const TensorInfo& from = context->index.tensor(node.inputs[0]);
    const DType to = context->index.tensor(node.outputs[0]).dtype;
    // A bool asks for zero alone, which FP16 holds.
    if (!IsFloat(from.dtype) || IsFloat(to) || to == DType::kBool) continue;
    std::set<int> nodes;
    if (!FromShapesOnly(*context, node.inputs[0], &nodes)) continue;
    nodes.insert(static_cast<int>(id));
    for (const int member : nodes) {
      context->PinNode(member, name,
                       fmt::format("{} turns into the integers of {}", from.name,
                                   context->index.tensor(node.outputs[0]).name));
    }
  }
}

/// Why a tensor that overflows has no exponent that would help.
std::string WhyNotScaled(const PlanContext& context, int tensor) {
  const TensorInfo& info = context.index.tensor(tensor);
  if (context.options.repair != Repair::kRescale) return "";
  if (info.kind == TensorKind::kInput) return "; it is an input of the model";
  if (!context.scales.CanScale(tensor)) {
    return fmt::format("; {} gives true values only",
                       info.producer < 0 ? "a body" : context.index.node(info.producer).proto->op_type());
  }
  return "";
}

/// A reader that needs another size than the tensor is stored with, which doesn't fit.
void ReadersOverflow(PlanContext* context, std::string_view name, int tensor, const TensorStats& stats) {
  const TensorInfo& info = context->index.tensor(tensor);
  const int stored = context->exponents[static_cast<size_t>(tensor)];
  for (size_t reader = 0; reader < info.uses.size(); ++reader) {
    const NodeInfo& node = context->index.node(info.uses[reader].node);
    const int read = context->ReadExponent(tensor, reader);
    const bool clamped = context->scales.of(info.uses[reader].node).Saturates() && stored != 0;
    if (read == stored || clamped || !PassesThreshold(stats, context->options.threshold, read)) continue;
    context->PinNode(context->ports.of(tensor).readers[reader], name,
                     fmt::format("{}; {} needs {}", Evidence(stats, read), node.proto->op_type(),
                                 read == 0 ? "its true value" : "it at this size"));
  }
}

void TensorOverflows(PlanContext* context, std::string_view name) {
  for (size_t id = 0; id < context->index.tensors().size(); ++id) {
    const TensorInfo& tensor = context->index.tensors()[id];
    const int number = static_cast<int>(id);
    const TensorStats* stats = context->Stats(number);
    if (stats == nullptr || tensor.kind == TensorKind::kConstant ||
        context->ports.of(number).writer == kNoFloat || context->mask_fits[id])
      continue;
    const bool io = tensor.kind == TensorKind::kInput || (tensor.graph_output && tensor.graph == 0);
    if (io && stats->abs_max > kHalfMax) {
      context->io_stays_fp32[id] = true;
      if (context->options.io == Interface::kFp16) {
        context->warnings.push_back(fmt::format("{} stays FP32: {}", tensor.name, Evidence(*stats)));
      }
    }
    ReadersOverflow(context, name, number, *stats);
    const int exponent = context->exponents[id];
    if (!PassesThreshold(*stats, context->options.threshold, exponent)) continue;
    context->PinTensor(number, name, Evidence(*stats, exponent) + WhyNotScaled(*context, number));
  }
}

/// What no sample has shown can't be called safe: a branch never taken, a tensor that a recording lacks.
void NotObserved(PlanContext* context, std::string_view name) {
  size_t missing = 0;
  const std::vector<bool> shape_alone = ReadForShapeAlone(context->index);
  for (size_t id = 0; id < context->index.tensors().size(); ++id) {
    const TensorInfo& tensor = context->index.tensors()[id];
    const int number = static_cast<int>(id);
    if (context->ports.of(number).writer == kNoFloat) continue;
    const bool empty = std::find(tensor.shape.begin(), tensor.shape.end(), 0) != tensor.shape.end();
    const TensorStats* stats = context->Stats(number);
    const bool seen =
        stats != nullptr && (stats->constant || stats->count + stats->nan_count + stats->inf_count > 0);
    if (seen || empty || (shape_alone[id] && tensor.producer >= 0)) continue;
    ++missing;
    context->PinTensor(number, name, fmt::format("no sample showed a value of {}", tensor.name));
  }
  if (missing > 0)
    context->warnings.push_back(
        fmt::format("{} tensors were never seen with a value; what touches them stays FP32", missing));
}

void PartialSums(PlanContext* context, std::string_view name) {
  if (!context->options.accumulate_fp16) return;
  for (const TensorStats& stats : context->ranges.tensors) {
    const int tensor = stats.sum_bound ? context->index.FindTensor(stats.name) : -1;
    if (tensor < 0 || context->index.tensor(tensor).producer < 0) continue;
    const int producer = context->index.tensor(tensor).producer;
    // Sums of squares carry twice the input's exponent, other sums the result's.
    const bool squares = TraitsOf(*context->index.node(producer).proto).sums == Sums::kSquares;
    const int exponent = squares ? 2 * context->read_exponents[static_cast<size_t>(producer)][0]
                                 : context->exponents[static_cast<size_t>(tensor)];
    const double bound = std::ldexp(*stats.sum_bound, -exponent);
    if (bound <= kHalfMax) continue;
    context->PinNode(producer, name, fmt::format("partial sums of {} may reach {:.4g}", stats.name, bound));
  }
}

/// Calls `visit` for every node that reads a float constant that the scan measured, with the exponent that it
/// reads the constant with. What is no node, such as an output of the model, can't be pinned.
void ForEachConstantRead(
    const PlanContext& context,
    const std::function<void(const TensorStats&, int tensor, int node, int exponent)>& visit) {
  for (size_t id = 0; id < context.index.tensors().size(); ++id) {
    const TensorInfo& tensor = context.index.tensors()[id];
    const TensorStats* stats =
        tensor.kind == TensorKind::kConstant ? context.Stats(static_cast<int>(id)) : nullptr;
    if (stats == nullptr || context.mask_fits[id]) continue;
    const TensorPorts& ports = context.ports.of(static_cast<int>(id));
    for (size_t reader = 0; reader < ports.readers.size(); ++reader) {
      if (ports.readers[reader] < 0) continue;
      visit(*stats, static_cast<int>(id), ports.readers[reader],
            context.ReadExponent(static_cast<int>(id), reader));
    }
  }
}

void WeightOutOfRange(PlanContext* context, std::string_view name) {
  ForEachConstantRead(*context, [&](const TensorStats& stats, int, int node, int exponent) {
    const double largest = std::ldexp(stats.abs_max, -exponent);
    if (largest <= kHalfMax) return;
    context->PinNode(node, name,
                     fmt::format("weight {} reaches {:.6g}{}", stats.name, largest, StoredTimes(exponent)));
  });
}

void FoldedWeightOutOfRange(PlanContext* context, std::string_view name) {
  for (const FoldedWeights& folded : FoldWeights(context->model, context->index)) {
    // Factors that the layers' constants take up are in the folded product once: from its input to its
    // output.
    const auto exponent = [&](const std::vector<int>& tensors) {
      return tensors.empty() || tensors[0] < 0 ? 0 : context->exponents[static_cast<size_t>(tensors[0])];
    };
    const int output = exponent(context->index.node(folded.nodes.back()).outputs);
    const int input = exponent(context->index.node(folded.nodes.front()).inputs);
    const double largest =
        std::max(std::ldexp(folded.weight_max, input - output), std::ldexp(folded.bias_max, -output));
    if (largest <= kHalfMax) continue;
    for (const int node : folded.nodes) {
      context->PinNode(node, name,
                       fmt::format("folded with what follows, the weights of {} reach {:.6g}",
                                   context->index.node(folded.nodes.front()).name, largest));
    }
  }
}

/// Whether all that the node does with a constant is to add it, or as a mean to subtract it. One that
/// vanishes then moves the result by less than rounding that, or the other operand, may do. Epsilons are
/// added too, and are above zero.
bool IsBias(const PlanContext& context, const TensorStats& stats, int tensor, int node) {
  const NodeScaling& scaling = context.scales.of(node);
  const NodeInfo& info = context.index.node(node);
  const std::string& op = info.proto->op_type();
  const bool product =
      std::any_of(scaling.factor.begin(), scaling.factor.end(), [](int factor) { return factor > 0; });
  const bool sum = info.proto->domain().empty() && (op == "Add" || op == "Sub" || op == "Sum");
  if (!product && !(sum && stats.min < 0.0)) return false;
  for (size_t slot = 0; slot < info.inputs.size(); ++slot) {
    const Port port = scaling.ports[slot];
    if (info.inputs[slot] == tensor && port != Port::kTied && port != Port::kLikeFirst) return false;
  }
  return true;
}

/// An epsilon that FP16 turns into zero is no epsilon.
void ConstantVanishes(PlanContext* context, std::string_view name) {
  ForEachConstantRead(*context, [&](const TensorStats& stats, int tensor, int node, int exponent) {
    const double largest = std::ldexp(stats.abs_max, -exponent);
    if (stats.count == 0 || largest == 0.0 || largest >= 0x1p-25) return;
    if (context->guards.contains({tensor, node}) || IsBias(*context, stats, tensor, node)) return;
    context->PinNode(
        node, name,
        fmt::format("{} is {:.3g}{}, which FP16 makes zero", stats.name, largest, StoredTimes(exponent)));
  });
}

/// Whether a zero in the first operand is one in the result, or next to nothing is added to it.
bool KeepsZero(const onnx::NodeProto& node) {
  static constexpr std::string_view kKeepZero[] = {"Sqrt", "Pow", "Abs", "Add", "Max", "Clip"};
  return std::find(std::begin(kKeepZero), std::end(kKeepZero), node.op_type()) != std::end(kKeepZero);
}

/// Pins the tensor if FP16 makes values of it zero, and what it is computed from through a few operators that
/// keep zero; what only moves values is no step on that way.
void PinVanishing(PlanContext* context, std::string_view name, int tensor, const std::string& pole) {
  constexpr int kSteps = 4, kMoves = 64;  // Moves are limited too: any number of poles may end one long row.
  for (int steps = kSteps, moves = kMoves; tensor >= 0 && steps >= 0 && moves >= 0;) {
    const TensorInfo& info = context->index.tensor(tensor);
    const TensorStats* stats = context->Stats(tensor);
    const uint64_t vanishing =
        stats == nullptr ? 0 : stats->VanishingCount(context->exponents[static_cast<size_t>(tensor)]);
    if (info.kind == TensorKind::kActivation && vanishing > 0) {
      context->PinTensor(
          tensor, name,
          fmt::format("{} values of {} are so small that FP16 makes them zero, and {} has a pole there",
                      vanishing, stats->name, pole));
    }
    if (info.producer < 0) return;
    const NodeInfo& node = context->index.node(info.producer);
    const bool moved = TraitsOf(*node.proto).values == Values::kPermuted;
    if ((!moved && !KeepsZero(*node.proto)) || node.inputs.empty()) return;
    tensor = node.inputs[0];
    --(moved ? moves : steps);
  }
}

void PoleVanishes(PlanContext* context, std::string_view name) {
  for (const NodeInfo& node : context->index.nodes()) {
    const int pole = TraitsOf(*node.proto).pole;
    if (pole < 0 || static_cast<size_t>(pole) >= node.inputs.size() ||
        node.inputs[static_cast<size_t>(pole)] < 0)
      continue;
    PinVanishing(context, name, node.inputs[static_cast<size_t>(pole)], node.name);
  }
}

constexpr Rule kRules[] = {
    {"user", &PinnedByUser, false, "You asked for FP32 with --keep or --keep-op."},
    {"no-half-type", &NoHalfType, false,
     "The operator has no FP16 form (or BF16, where that is asked for) in the model's opset."},
    {"index-arithmetic", &IndexArithmetic, false,
     "Sizes or positions are computed here; FP16 holds whole numbers only up to 2048."},
    {"overflow", &TensorOverflows, true,
     "Finite values of a tensor that the node writes or reads pass the threshold."},
    {"not-observed", &NotObserved, false, "No sample showed what a tensor of the node does."},
    {"partial-sums", &PartialSums, true,
     "A sum on the way to the result may pass 65504 (--accumulate fp16)."},
    {"weight-out-of-range", &WeightOutOfRange, true, "A weight passes 65504."},
    {"folded-weight-out-of-range", &FoldedWeightOutOfRange, true,
     "Folded together as engine builders do, the weights pass 65504."},
    {"constant-vanishes", &ConstantVanishes, true, "FP16 turns a constant, such as an epsilon, into zero."},
    {"pole-vanishes", &PoleVanishes, true,
     "FP16 turns values into zero where the next operator divides by them."},
};

}  // namespace

void CheckPlanOptions(const Model& model, const PlanOptions& options) {
  for (const std::string& pattern : options.keep_nodes) NamePattern("--keep", pattern);
  if (options.half == Precision::kBf16 && options.io == Interface::kFp16)
    throw BadUsage("--io fp16 is for nodes in FP16, not for --half bf16");
  if (!options.latencies.nodes.empty() && options.latencies.model_sha256 != model.sha256()) {
    throw BadInput(fmt::format("the latencies are of another model: SHA-256 {}, {} has {}; measure this one",
                               options.latencies.model_sha256, model.path().string(), model.sha256()));
  }
}

std::string WhyNoHalfType(const GraphIndex& index, const PrecisionPorts& ports, int node, Precision half) {
  const bool only_fp16 = ports.Switchable(node) && !ports.AllowsBf16(node);
  if (half != Precision::kBf16 || !only_fp16) return ports.WhyNot(node);
  const NodeInfo& info = index.node(node);
  return fmt::format("the ONNX schema of {}-{} has no BF16 for all that the node reads and writes",
                     info.proto->op_type(), info.schema->SinceVersion());
}

std::span<const Rule> Rules() { return kRules; }

}  // namespace halfsafe
