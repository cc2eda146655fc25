#include "halfsafe/plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <ranges>
#include <set>

#include "base/text.h"
#include "halfsafe/error.h"
#include "halfsafe/half.h"
#include "model/lift.h"
#include "plan/context.h"
#include "plan/costs.h"
#include "plan/expansion.h"
#include "plan/exponents.h"
#include "plan/guards.h"
#include "plan/leftovers.h"
#include "plan/masks.h"
#include "plan/rules.h"

namespace halfsafe {
namespace {

/// Whether a node may be BF16 in a plan whose nodes are FP16: where FP16's range alone speaks against that.
bool OffersBf16(const PlanContext& context, size_t node) {
  if (context.options.repair != Repair::kBf16) return false;
  const Pin& pin = context.pins[node];
  return (pin.reason.empty() || pin.range) && context.ports.AllowsBf16(static_cast<int>(node)) &&
         context.ports.Switchable(static_cast<int>(node));
}

PerPrecision<bool> Allowed(const PlanContext& context, size_t node) {
  const bool free = context.pins[node].reason.empty();
  if (context.options.half == Precision::kBf16) return {false, free, true};
  return {free, OffersBf16(context, node), true};
}

PrecisionProblem MakeProblem(const PlanContext& context, const std::vector<PerPrecision<int64_t>>& costs,
                             const std::vector<IoPlan>& io) {
  PrecisionProblem problem;
  for (size_t id = 0; id < context.index.nodes().size(); ++id) {
    const bool switchable = context.ports.Switchable(static_cast<int>(id));
    problem.nodes.push_back({switchable ? costs[id] : PerPrecision<int64_t>{}, Allowed(context, id)});
  }
  for (size_t id = 0; id < context.index.tensors().size(); ++id) {
    const TensorInfo& tensor = context.index.tensors()[id];
    const TensorPorts& ports = context.ports.of(static_cast<int>(id));
    // Constants are stored in whichever type is read: no Cast at run time.
    if (ports.writer == kNoFloat || tensor.kind == TensorKind::kConstant || ports.readers.empty()) continue;
    const auto planned = std::ranges::find(io, tensor.name, &IoPlan::name);
    const int fixed = planned == io.end()                      ? kFixedFp32
                      : planned->precision == Precision::kBf16 ? kFixedBf16
                                                               : kFixedFp16;
    const auto end = [&](int decider, bool is_io) {
      return decider >= 0 ? decider : is_io ? fixed : kFixedFp32;
    };
    CutTensor cut;
    cut.writer = end(ports.writer, tensor.kind == TensorKind::kInput);
    for (size_t reader = 0; reader < ports.readers.size(); ++reader) {
      cut.readers.push_back(end(ports.readers[reader], reader >= tensor.uses.size()));
    }
    cut.cast_cost = CastCost(context, static_cast<int>(id));
    problem.tensors.push_back(std::move(cut));
  }
  return problem;
}

/// The exact cut where only FP16 and FP32 are in question, and FP16 is the cheaper one everywhere.
std::vector<Precision> Cheapest(const PrecisionProblem& problem) {
  const auto bf16 = static_cast<size_t>(Precision::kBf16), fp32 = static_cast<size_t>(Precision::kFp32);
  const auto fp16 = static_cast<size_t>(Precision::kFp16);
  CutProblem cut{{}, {}, problem.tensors};
  const auto is_bf16 = [](int end) { return end == kFixedBf16; };
  for (const CutTensor& tensor : problem.tensors) {
    if (is_bf16(tensor.writer) || std::ranges::any_of(tensor.readers, is_bf16))
      return CheapestPrecisions(problem);
  }
  for (const PrecisionNode& node : problem.nodes) {
    if (node.allowed[bf16] || node.cost[fp16] > 0) return CheapestPrecisions(problem);
    cut.fp32_cost.push_back(node.cost[fp32]);
    cut.must_fp32.push_back(!node.allowed[fp16]);
  }
  std::vector<Precision> precisions;
  for (const bool wide : CheapestAssignment(cut))
    precisions.push_back(wide ? Precision::kFp32 : Precision::kFp16);
  return precisions;
}

/// The 16-bit types that the file of a lifted model has at its inputs and outputs.
std::vector<IoPlan> InterfaceOfFile(const Model& model) {
  std::vector<IoPlan> io;
  std::set<std::string> named;  // An output may be an input.
  const auto add = [&](const std::string& name, DType dtype) {
    if (IsSixteenBit(dtype) && named.insert(name).second)
      io.push_back({name, dtype == DType::kBfloat16 ? Precision::kBf16 : Precision::kFp16});
  };
  const std::vector<InputSpec> inputs = model.Inputs();
  const std::vector<DType> input_types = StoredInputTypes(model), output_types = StoredOutputTypes(model);
  for (size_t i = 0; i < inputs.size(); ++i) add(inputs[i].name, input_types[i]);
  for (size_t i = 0; i < output_types.size(); ++i)
    add(model.proto().graph().output(static_cast<int>(i)).name(), output_types[i]);
  return io;
}

std::vector<IoPlan> ChooseIo(const PlanContext& context) {
  if (context.options.io == Interface::kKeep) return InterfaceOfFile(context.model);
  std::vector<IoPlan> io;
  if (context.options.io == Interface::kFp32) return io;
  for (size_t id = 0; id < context.index.tensors().size(); ++id) {
    const TensorInfo& tensor = context.index.tensors()[id];
    const bool output = tensor.graph == 0 && tensor.graph_output;
    if ((tensor.kind != TensorKind::kInput && !output) || tensor.dtype != DType::kFloat || !tensor.is_tensor)
      continue;
    // An output that is a weight, or that a node can only write as FP32, keeps its type too.
    const int writer = context.ports.of(static_cast<int>(id)).writer;
    const bool fixed = tensor.kind == TensorKind::kConstant || (output && writer == kAlwaysFp32);
    if (!context.io_stays_fp32[id] && !(fixed && tensor.kind != TensorKind::kInput))
      io.push_back({tensor.name, Precision::kFp16});
  }
  return io;
}

/// Outputs that are in FP16 whatever they reach.
void WarnOfInterface(const std::vector<IoPlan>& io, PlanContext* context) {
  for (const IoPlan& planned : io) {
    const int tensor = context->index.FindTensor(planned.name);
    const TensorStats* stats = tensor < 0 ? nullptr : context->Stats(tensor);
    const bool output = tensor >= 0 && context->index.tensor(tensor).graph_output;
    if (planned.precision != Precision::kFp16 || !output || stats == nullptr ||
        stats->abs_max < kHalfOverflow)
      continue;
    context->warnings.push_back(
        fmt::format("output {} is FP16 in the file and can't be right in it: {}; --io fp32 makes it FP32",
                    planned.name, Evidence(*stats)));
  }
}

/// The largest value that the node reads or writes, as evidence that it is safe.
std::string SafeEvidence(const PlanContext& context, int id) {
  const NodeInfo& node = context.index.node(id);
  double largest = -1.0;
  std::string where;
  const auto look = [&](int tensor, int exponent) {
    const TensorStats* stats = tensor < 0 ? nullptr : context.Stats(tensor);
    if (stats == nullptr || stats->count == 0) return;
    const double value = std::ldexp(stats->abs_max, -exponent);
    if (value <= largest) return;
    largest = value;
    where = stats->name + StoredTimes(exponent);
  };
  const auto& read = context.read_exponents[static_cast<size_t>(id)];
  for (size_t slot = 0; slot < node.inputs.size(); ++slot) look(node.inputs[slot], read[slot]);
  for (const int tensor : node.outputs) {
    if (tensor >= 0) look(tensor, context.exponents[static_cast<size_t>(tensor)]);
  }
  return where.empty() ? "" : fmt::format("at most {:.4g}, at {}", largest, where);
}

void WarnOfWeights(PlanContext* context) {
  uint64_t subnormal = 0, vanishing = 0, total = 0;
  for (size_t id = 0; id < context->index.tensors().size(); ++id) {
    const int number = static_cast<int>(id);
    const TensorInfo& tensor = context->index.tensor(number);
    const TensorStats* stats = tensor.kind == TensorKind::kConstant ? context->Stats(number) : nullptr;
    if (stats == nullptr || tensor.dtype != DType::kFloat || context->ports.of(number).readers.empty())
      continue;
    const int exponent = context->ReadExponent(number, 0);
    for (const auto& [power, count] : stats->exponents)
      subnormal += exponent != 0 && power - exponent < -14 ? count : 0;
    if (exponent == 0) subnormal += stats->subnormal_count;
    vanishing += stats->VanishingCount(exponent);
    total += stats->count;
  }
  if (subnormal > 0) {
    context->warnings.push_back(fmt::format("{} of {} weights become subnormal in FP16, {} of them zero",
                                            subnormal, total, vanishing));
  }
}

/// NaN inside that no output shows, as of a constant that a Where never takes, is no fault. Whether outputs
/// that are no floating-point numbers were made from NaN can't be seen, so there any NaN that was computed
/// counts.
void WarnOfBrokenModel(PlanContext* context) {
  const auto is_nan = [](const TensorStats* stats) { return stats != nullptr && stats->nan_count > 0; };
  const auto& tensors = context->index.tensors();
  const auto is_output = [](const TensorInfo& tensor) { return tensor.graph == 0 && tensor.graph_output; };
  const bool only_floats = std::ranges::all_of(
      tensors, [&](const TensorInfo& tensor) { return !is_output(tensor) || IsFloat(tensor.dtype); });
  bool shown = false;
  for (size_t id = 0; id < tensors.size(); ++id) {
    const bool counts =
        is_output(tensors[id]) || (!only_floats && tensors[id].kind == TensorKind::kActivation);
    shown = shown || (counts && is_nan(context->Stats(static_cast<int>(id))));
  }
  if (!shown) return;
  const auto first =
      std::ranges::find_if(context->ranges.tensors, [&](const TensorStats& stats) { return is_nan(&stats); });
  context->warnings.push_back(
      fmt::format("the model is broken in FP32 already: {} is the first tensor with NaN ({})", first->name,
                  first->nan_count));
}

const char* PrecisionText(Precision precision) {
  return precision == Precision::kFp16 ? "FP16" : precision == Precision::kBf16 ? "BF16" : "FP32";
}

std::string CheaperEvidence(const PerPrecision<int64_t>& cost, Precision precision, Precision half) {
  const int64_t saved = cost[static_cast<size_t>(precision)] - cost[static_cast<size_t>(half)];
  if (saved <= 0) {
    return fmt::format("measured to be no slower in {} than in {}", PrecisionText(precision),
                       PrecisionText(half));
  }
  return fmt::format("Casts around it would cost more than the {} bytes of traffic that {} saves", saved,
                     PrecisionText(half));
}

Plan Finish(const PlanContext& context, const PrecisionProblem& problem,
            const std::vector<Precision>& precisions, std::vector<IoPlan> io) {
  Plan plan;
  plan.model_sha256 = context.model.sha256();
  plan.opset = context.model.raised_opset();
  plan.lift_clamps = context.model.lifts_clamps();
  plan.half = context.options.half;
  plan.io = std::move(io);
  plan.constants = context.constants;
  plan.warnings = context.warnings;
  for (size_t id = 0; id < context.exponents.size(); ++id) {
    if (context.exponents[id] != 0)
      plan.tensors.push_back({context.index.tensors()[id].name, context.exponents[id]});
  }
  for (size_t id = 0; id < context.index.nodes().size(); ++id) {
    const NodeInfo& node = context.index.nodes()[id];
    const Pin& pin = context.pins[id];
    if (!context.ports.Switchable(static_cast<int>(id)) && pin.reason.empty()) continue;
    if (!context.ports.Switchable(static_cast<int>(id)) && context.ports.WhyNot(static_cast<int>(id)).empty())
      continue;
    const Precision precision = precisions[id];
    if (!pin.reason.empty()) {
      plan.nodes.push_back({node.name, precision, pin.reason, pin.evidence});
    } else if (precision != plan.half) {
      plan.nodes.push_back({node.name, precision, "cheaper-than-casts",
                            CheaperEvidence(problem.nodes[id].cost, precision, plan.half)});
    } else {
      plan.nodes.push_back({node.name, plan.half, "safe", SafeEvidence(context, static_cast<int>(id))});
    }
  }
  return plan;
}

/// What widening found stays. A node that may be BF16 for its range, and was FP32 then, isn't offered BF16
/// again.
void PinWidened(const Plan& widened, PlanContext* context) {
  for (const NodePlan& planned : widened.nodes) {
    const int node = context->index.FindNode(planned.name);
    if (node < 0 || planned.precision != Precision::kFp32) continue;
    Pin& pin = context->pins[static_cast<size_t>(node)];
    if (pin.reason.empty() && planned.reason == "error") pin = {planned.reason, planned.evidence};
    if (pin.range) pin = {pin.reason, planned.evidence};
  }
}

}  // namespace

std::string_view PrecisionName(Precision precision) {
  switch (precision) {
    case Precision::kFp16:
      return "fp16";
    case Precision::kBf16:
      return "bf16";
    case Precision::kFp32:
      break;
  }
  return "fp32";
}

std::vector<const NodePlan*> Plan::NodesIn(Precision precision) const {
  std::vector<const NodePlan*> found;
  for (const NodePlan& node : nodes) {
    if (node.precision == precision) found.push_back(&node);
  }
  return found;
}

bool Plan::OnlyFp32() const {
  return std::all_of(nodes.begin(), nodes.end(),
                     [](const NodePlan& node) { return node.precision == Precision::kFp32; });
}

bool DropUnused(Plan* plan) {
  if (!plan->OnlyFp32() || (plan->tensors.empty() && plan->constants.empty())) return false;
  plan->tensors.clear();
  plan->constants.clear();
  return true;
}

Plan MakePlan(const Model& whole, const RangeTable& ranges, const PlanOptions& options, const Plan* widened) {
  const Model& model = whole.Lifted();
  if (ranges.model_sha256 != model.sha256()) {
    throw BadInput(fmt::format("the ranges are of another model: SHA-256 {}, {} has {}; scan it again",
                               ranges.model_sha256, model.path().string(), model.sha256()));
  }
  CheckPlanOptions(model, options);
  if (ranges.opset != model.raised_opset()) {
    throw BadInput(fmt::format("the ranges are of {} at {}, expected {}; scan it again",
                               model.path().string(), OpsetText(ranges.opset),
                               OpsetText(model.raised_opset())));
  }
  if (ranges.lift_clamps != model.lifts_clamps()) {
    throw BadInput(
        fmt::format("the ranges are of {} {} its clamps at FP16's limits, expected {}; scan it again",
                    model.path().string(), ranges.lift_clamps ? "without" : "with",
                    model.lifts_clamps() ? "without" : "with"));
  }
  const GraphIndex& index = model.index();
  const PrecisionPorts ports(index);
  const ScaleRules scales(model, index);
  PlanContext context{model, index, ports, scales, ranges, options, {}, {}, {}, {}, {}, {}, {}, {}, false};
  context.pins.resize(index.nodes().size());
  context.io_stays_fp32.assign(index.tensors().size(), false);
  context.mask_fits.assign(index.tensors().size(), false);
  if (options.half == Precision::kFp16) FindMasks(&context);
  ChooseExponents(&context);
  if (options.half == Precision::kFp16) FindGuards(&context);
  for (const Rule& rule : Rules()) {
    if (rule.range && options.half == Precision::kBf16) continue;
    context.range_rule = rule.range;
    rule.apply(&context, rule.name);
  }
  if (widened != nullptr) PinWidened(*widened, &context);
  const std::vector<PerPrecision<int64_t>> costs = NodeCosts(&context);
  WarnOfBrokenModel(&context);
  for (std::string& text : Leftovers(model, ranges)) context.warnings.push_back(std::move(text));
  if (options.half == Precision::kFp16) WarnOfWeights(&context);
  std::vector<IoPlan> io = ChooseIo(context);
  WarnOfInterface(io, &context);
  const PrecisionProblem problem = MakeProblem(context, costs, io);
  Plan plan = Finish(context, problem, Cheapest(problem), std::move(io));
  DropUnused(&plan);
  return plan;
}

std::optional<Plan> PlanForNothing(const Model& whole, Precision half) {
  // What is in 16 bits already may be wrong as it is.
  const Model& model = whole.Lifted();
  if (model.AsStored() != nullptr) return std::nullopt;
  const PrecisionPorts ports(model.index());
  Plan plan;
  plan.model_sha256 = model.sha256();
  plan.opset = model.raised_opset();
  plan.half = half;
  for (size_t node = 0; node < model.index().nodes().size(); ++node) {
    const int id = static_cast<int>(node);
    const std::string why = WhyNoHalfType(model.index(), ports, id, half);
    if (ports.Switchable(id) && why.empty()) return std::nullopt;
    if (!why.empty())
      plan.nodes.push_back({model.index().node(id).name, Precision::kFp32, "no-half-type", why});
  }
  plan.warnings.push_back(fmt::format("no node of the model can be {}, so nothing was run",
                                      half == Precision::kBf16 ? "BF16" : "FP16"));
  return plan;
}

Plan PlainFp16Plan(const Model& whole) {
  const Model& model = whole.Lifted();
  const GraphIndex& index = model.index();
  const PrecisionPorts ports(index);
  Plan plan;
  plan.model_sha256 = model.sha256();
  plan.opset = model.raised_opset();
  plan.lift_clamps = model.lifts_clamps();
  for (size_t id = 0; id < index.nodes().size(); ++id) {
    const int node = static_cast<int>(id);
    if (ports.Switchable(node) && ports.WhyNot(node).empty())
      plan.nodes.push_back({index.node(node).name, Precision::kFp16, "plain", ""});
  }
  return plan;
}

std::vector<std::string> OverflowingTensors(const RangeTable& ranges, double threshold) {
  std::vector<std::string> names;
  for (const TensorStats& stats : ranges.tensors) {
    if (!stats.constant && Overflows(stats, threshold)) names.push_back(stats.name);
  }
  return names;
}

}  // namespace halfsafe
