#include <fmt/format.h>

#include <algorithm>

#include "base/file.h"
#include "bindings.h"
#include "work.h"

namespace halfsafe::python {
namespace {

using nb::literals::operator""_a;

Precision PrecisionFrom(const std::string& name) {
  for (const Precision precision : {Precision::kFp16, Precision::kBf16, Precision::kFp32}) {
    if (name == PrecisionName(precision)) return precision;
  }
  throw BadUsage(fmt::format("precision is '{}', expected 'fp16', 'bf16' or 'fp32'", name));
}

Repair RepairFrom(const std::string& name) {
  if (name == "rescale") return Repair::kRescale;
  if (name == "fp32") return Repair::kFp32;
  Require(name == "bf16", fmt::format("repair is '{}', expected 'rescale', 'fp32' or 'bf16'", name));
  return Repair::kBf16;
}

bool IsFp16(const char* what, const std::string& value, const std::string& otherwise) {
  Require(value == "fp16" || value == otherwise,
          fmt::format("{} is '{}', expected '{}' or 'fp16'", what, value, otherwise));
  return value == "fp16";
}

Precision HalfFrom(const std::string& name) {
  Require(name == "fp16" || name == "bf16", fmt::format("half is '{}', expected 'fp16' or 'bf16'", name));
  return PrecisionFrom(name);
}

Interface InterfaceFrom(const std::string& name) {
  Require(name == "keep" || name == "fp16" || name == "fp32",
          fmt::format("io is '{}', expected 'keep', 'fp16' or 'fp32'", name));
  return name == "keep" ? Interface::kKeep : name == "fp16" ? Interface::kFp16 : Interface::kFp32;
}

void MakePlanOptions(PlanOptions* self, const std::string& half, const std::string& repair, double threshold,
                     double margin, const std::string& io, const std::string& accumulate, bool free_casts,
                     std::vector<std::string> keep, std::vector<std::string> keep_op,
                     const std::optional<std::filesystem::path>& cost) {
  Require(threshold > 0.0, fmt::format("threshold is {}, expected a number above zero", threshold));
  Require(margin > 0.0, fmt::format("margin is {}, expected a number above zero", margin));
  PlanOptions options;
  options.half = HalfFrom(half);
  options.repair = RepairFrom(repair);
  options.threshold = threshold;
  options.margin = margin;
  options.io = InterfaceFrom(io);
  options.accumulate_fp16 = IsFp16("accumulate", accumulate, "fp32");
  options.free_casts = free_casts;
  options.keep_nodes = std::move(keep);
  options.keep_ops = std::move(keep_op);
  if (cost) options.latencies = LatenciesFromJson(MappedFile(*cost, "latencies").text(), cost->string());
  new (self) PlanOptions(std::move(options));
}

/// The plan with other precisions for the nodes that `precisions` names.
Plan WithPrecisions(const Plan& plan, const std::map<std::string, std::string>& precisions,
                    const std::string& reason) {
  Plan edited = plan;
  for (const auto& [name, precision] : precisions) {
    const auto node = std::ranges::find(edited.nodes, name, &NodePlan::name);
    if (node == edited.nodes.end()) throw nb::key_error(name.c_str());
    *node = {name, PrecisionFrom(precision), reason, ""};
  }
  return edited;
}

LoadedModel ApplyTo(const LoadedModel& given, const Plan& plan, bool accumulate_fp32) {
  return Run(nb::none(), [&](Progress*) {
    const LoadedModel model = ModelFor(given, plan.model_sha256, plan.opset);
    Model fixed = Apply(*model.model, plan);
    if (accumulate_fp32) fixed = AccumulateInFp32(fixed);
    return LoadedModel{std::make_shared<const Model>(std::move(fixed)), nullptr, model.custom_ops, true,
                       true};
  });
}

}  // namespace

void BindPlan(nb::module_& module) {
  nb::class_<NodePlan>(module, "NodePlan", "What to do with one node, and why.")
      .def_ro("name", &NodePlan::name)
      .def_prop_ro("precision",
                   [](const NodePlan& node) { return std::string(PrecisionName(node.precision)); })
      .def_ro("reason", &NodePlan::reason)
      .def_ro("evidence", &NodePlan::evidence)
      .def("__repr__", [](const NodePlan& node) {
        return fmt::format("<NodePlan {} {}: {}>", node.name, PrecisionName(node.precision), node.reason);
      });
  nb::class_<TensorPlan>(module, "TensorPlan", "A tensor stored as x * 2**-exponent.")
      .def_ro("name", &TensorPlan::name)
      .def_ro("exponent", &TensorPlan::exponent);
  nb::class_<ConstantPlan>(module, "ConstantPlan", "A constant whose values change before they are stored.")
      .def_ro("name", &ConstantPlan::name)
      .def_ro("clamp", &ConstantPlan::clamp)
      .def_ro("keep_nonzero", &ConstantPlan::keep_nonzero)
      .def_ro("reason", &ConstantPlan::reason)
      .def_ro("evidence", &ConstantPlan::evidence);

  nb::class_<Plan>(module, "Plan", "Which nodes run in FP16, and what is stored times a power of two.")
      .def_ro("model_sha256", &Plan::model_sha256)
      .def_ro("opset", &Plan::opset, "That the model has to be raised to before the plan is applied, if any.")
      .def_ro("nodes", &Plan::nodes)
      .def_ro("tensors", &Plan::tensors)
      .def_ro("constants", &Plan::constants)
      .def_ro("warnings", &Plan::warnings)
      .def(
          "nodes_in",
          [](const Plan& plan, const std::string& precision) {
            std::vector<NodePlan> nodes;
            for (const NodePlan* node : plan.NodesIn(PrecisionFrom(precision))) nodes.push_back(*node);
            return nodes;
          },
          "precision"_a, "Nodes of one precision, in graph order.")
      .def("with_precisions", &WithPrecisions, "precisions"_a, "reason"_a = "edited",
           "The plan with other precisions for the nodes named: {name: 'fp32'}.")
      .def(
          "to_json", [](const Plan& plan) { return ToJson(plan); }, "A halfsafe-plan file's text.")
      .def_static(
          "from_json", [](const std::string& text) { return PlanFromJson(text, "plan"); }, "text"_a)
      .def(
          "save",
          [](const Plan& plan, const std::filesystem::path& path) {
            WriteFileAtomically(path, ToJson(plan));
          },
          "path"_a, "Writes what `halfsafe plan -o` writes.")
      .def_static(
          "load",
          [](const std::filesystem::path& path) {
            return PlanFromJson(MappedFile(path, "plan").text(), path.string());
          },
          "path"_a, "Reads what `halfsafe plan -o` wrote.")
      .def("__getstate__", [](const Plan& plan) { return ToJson(plan); })
      .def("__setstate__",
           [](Plan& plan, const std::string& text) { new (&plan) Plan(PlanFromJson(text, "plan")); })
      .def("__repr__", [](const Plan& plan) {
        return fmt::format("<Plan: {} of {} nodes in {}>", plan.NodesIn(plan.half).size(), plan.nodes.size(),
                           plan.half == Precision::kBf16 ? "BF16" : "FP16");
      });

  nb::class_<PlanOptions>(module, "PlanOptions")
      .def("__init__", &MakePlanOptions, "half"_a, "repair"_a, "threshold"_a, "margin"_a, "io"_a,
           "accumulate"_a, "free_casts"_a, "keep"_a, "keep_op"_a, "cost"_a.none());
  module.def(
      "plan",
      [](const LoadedModel& given, const RangeTable& ranges, const PlanOptions& options) {
        return Run(nb::none(), [&](Progress*) {
          const LoadedModel model = ModelFor(given, ranges.model_sha256, ranges.opset);
          return MakePlan(*model.model, ranges, options);
        });
      },
      "model"_a, "ranges"_a, "options"_a);
  module.def(
      "explain",
      [](const LoadedModel& given, const RangeTable& ranges, const Plan& plan, const std::string& node) {
        return Run(nb::none(), [&](Progress*) {
          const LoadedModel model = ModelFor(given, plan.model_sha256, plan.opset);
          return Explain(*model.model, ranges, plan, node);
        });
      },
      "model"_a, "ranges"_a, "plan"_a, "node"_a);
  module.def("apply", &ApplyTo, "model"_a, "plan"_a, "accumulate_fp32"_a);
}

}  // namespace halfsafe::python
