#include <fmt/format.h>

#include <cmath>

#include "base/text.h"
#include "halfsafe/error.h"
#include "halfsafe/rewrite.h"
#include "model/walk.h"
#include "rewrite/rewriter.h"

namespace halfsafe {
namespace {

/// For Casts in a model that imports other domains alone: the first with BF16.
constexpr int kOpsetOfInserted = 13;

constexpr Pass kPasses[] = {
    {"rescale", &Rescale},
    {"choose-types", &ChooseTypes},
    {"convert-constants", &ConvertConstants},
    {"insert-casts", &InsertCasts},
    {"connect-readers", &ConnectReaders},
    {"retype-attributes", &RetypeAttributes},
    {"retype-values", &RetypeValues},
    {"convert-sequences", &ConvertSequences},
    {"keep-loadable", &KeepLoadable},
    {"annotate", &Annotate},
    {"place-nodes", &PlaceNodes},
};

/// Numbers the copy's nodes as GraphIndex numbers the original's: a node after those of the bodies that it
/// holds.
void NumberNodes(onnx::GraphProto* graph, std::vector<onnx::NodeProto*>* nodes) {
  for (auto& node : *graph->mutable_node()) {
    for (auto& attribute : *node.mutable_attribute()) {
      if (attribute.has_g()) NumberNodes(attribute.mutable_g(), nodes);
    }
    nodes->push_back(&node);
  }
}

const Plan& RequireFit(const Model& model, const Plan& plan) {
  if (plan.model_sha256 != model.sha256()) {
    throw BadInput(fmt::format("the plan is of another model: SHA-256 {}, {} has {}", plan.model_sha256,
                               model.path().string(), model.sha256()));
  }
  if (plan.opset != model.raised_opset()) {
    throw BadInput(fmt::format("the plan is for {} at {}, it is at {}", model.path().string(),
                               OpsetText(plan.opset), OpsetText(model.raised_opset())));
  }
  if (plan.lift_clamps != model.lifts_clamps()) {
    throw BadInput(fmt::format("the plan is for {} {} its clamps at FP16's limits, it is {} them",
                               model.path().string(), plan.lift_clamps ? "without" : "with",
                               model.lifts_clamps() ? "without" : "with"));
  }
  return plan;
}

/// Pairs every tensor constant with its copy, and gives back the data of all that no conversion will fill.
void PairTensors(Rewriter* rewriter) {
  std::vector<const onnx::TensorProto*> originals;
  ForEachTensorConstant(rewriter->model.proto().graph(),
                        [&](const onnx::TensorProto& tensor) { originals.push_back(&tensor); });
  size_t next = 0;
  ForEachMutableTensorConstant(rewriter->proto.mutable_graph(),
                               [&](onnx::TensorProto* copy) { rewriter->copies[originals[next++]] = copy; });
  std::unordered_set<const onnx::TensorProto*> filled;
  for (const TensorInfo& tensor : rewriter->index.tensors()) {
    if (tensor.kind == TensorKind::kConstant && tensor.dtype == DType::kFloat && tensor.data != nullptr)
      filled.insert(tensor.data);
  }
  for (const auto& [original, copy] : rewriter->copies) {
    if (!filled.contains(original)) *copy = *original;
  }
}

}  // namespace

Rewriter::Rewriter(const Model& original, const Plan& the_plan)
    : model(original),
      plan(RequireFit(original, the_plan)),
      index(original.index()),
      ports(index),
      scales(original, index),
      proto(WithoutLargeTensors(original.proto(), kSmallTensor)) {
  PairTensors(this);
  graphs = AllGraphs(proto.mutable_graph());
  NumberNodes(proto.mutable_graph(), &nodes);
  precision.assign(index.nodes().size(), DType::kFloat);
  exponents.assign(index.tensors().size(), 0);
  read_exponent.resize(index.nodes().size());
  names.resize(index.tensors().size());
  behind_node.resize(index.nodes().size());
  at_start.resize(index.graphs().size());
  for (const TensorInfo& tensor : index.tensors()) {
    stored.push_back(tensor.dtype);
    taken.insert(tensor.local);
  }
  for (const IoPlan& planned : plan.io) {
    const int tensor = index.FindTensor(planned.name);
    if (tensor >= 0 && index.tensor(tensor).graph == 0) io[tensor] = TypeOf(planned.precision);
  }
  for (const ConstantPlan& planned : plan.constants) {
    const int tensor = index.FindTensor(planned.name);
    if (tensor >= 0 && planned.clamp) clamps[tensor] = *planned.clamp;
  }
}

DType Rewriter::Wanted(int decider) const {
  return decider >= 0 ? precision[static_cast<size_t>(decider)] : DType::kFloat;
}

Form Rewriter::StoredForm(int tensor) const {
  return {stored[static_cast<size_t>(tensor)], exponents[static_cast<size_t>(tensor)]};
}

Form Rewriter::WantedBy(int tensor, size_t reader) const {
  const TensorInfo& info = index.tensor(tensor);
  const TensorPorts& ends = ports.of(tensor);
  if (ends.writer == kNoFloat) return {info.dtype};
  Form form{Wanted(ends.readers[reader])};
  if (reader < info.uses.size()) {
    const TensorUse& use = info.uses[reader];
    form.exponent = read_exponent[static_cast<size_t>(use.node)][static_cast<size_t>(use.slot)];
    const NodeScaling& scaling = scales.of(use.node);
    const bool scaled = info.kind != TensorKind::kConstant && exponents[static_cast<size_t>(tensor)] != 0;
    if (scaled && scaling.Saturates() && scaling.ports[static_cast<size_t>(use.slot)] == Port::kTrue) {
      form.lowest = scaling.lowest;
      form.highest = scaling.highest;
    }
    // Others are clamped where they come from.
    if (const auto clamp = clamps.find(tensor); info.kind == TensorKind::kInput && clamp != clamps.end()) {
      form.lowest = -clamp->second;
      form.highest = clamp->second;
    }
    return form;
  }
  const auto& output = ports.outputs_of(tensor)[reader - info.uses.size()];
  form.exponent = scales.ReturnedExponent(output.graph, output.slot, exponents);
  if (ends.readers[reader] == kAlwaysFp32) {
    // An output of the main graph: the plan's io decides.
    if (const auto planned = io.find(tensor); planned != io.end()) form.dtype = planned->second;
  }
  return form;
}

std::string Rewriter::NewName(const std::string& base, const Form& form) {
  std::string suffix = form.dtype == DType::kFloat16    ? ".fp16"
                       : form.dtype == DType::kBfloat16 ? ".bf16"
                                                        : ".fp32";
  if (form.exponent != 0) suffix += fmt::format("_e{}", form.exponent);
  if (std::isfinite(form.highest)) suffix += "_clamped";
  std::string name = base + suffix;
  // Bodies may hold any number of tensors of one name, so numbers go on where they ended.
  for (int* last = nullptr; !taken.insert(name).second;
       name = fmt::format("{}{}_{}", base, suffix, ++*last)) {
    if (last == nullptr) last = &last_numbers.emplace(base + suffix, 1).first->second;
  }
  return name;
}

onnx::NodeProto& Rewriter::InsertBehind(const TensorInfo& tensor, const char* op, const std::string& name,
                                        const std::string& output) {
  auto& place = tensor.producer >= 0 ? behind_node[static_cast<size_t>(tensor.producer)]
                                     : at_start[static_cast<size_t>(tensor.graph)];
  if (OpsetVersion(proto, "") == 0) proto.add_opset_import()->set_version(kOpsetOfInserted);
  onnx::NodeProto& node = place.emplace_back();
  node.set_op_type(op);
  node.set_name(name);
  node.add_output(output);
  inserted.emplace(static_cast<size_t>(tensor.graph), output);
  return node;
}

const std::string& Rewriter::Scalar(float value, DType dtype) {
  std::string& name = scalars[{value, dtype}];
  if (!name.empty()) return name;
  name = NewName(fmt::format("halfsafe_{:g}", value), {dtype});
  onnx::TensorProto* tensor = proto.mutable_graph()->add_initializer();
  tensor->set_name(name);
  SetTensor(std::span(&value, 1), {dtype}, tensor);
  if (proto.ir_version() < 4) AddInitializerInput(*tensor, proto.mutable_graph());
  return name;
}

std::string OriginalName(const std::string& name) {
  const size_t dot = name.rfind('.'), slash = name.rfind('/');
  if (dot == std::string::npos) return name;
  if (slash == std::string::npos || dot > slash) return name.substr(0, dot);
  // Of the path of a tensor in a body: a node without a name goes by what it writes.
  const size_t end = name.find('/', dot);
  const std::string form = name.substr(dot + 1, end - dot - 1);
  const bool known = form.starts_with("fp16") || form.starts_with("fp32") || form.starts_with("bf16");
  return known ? name.substr(0, dot) + name.substr(end) : name.substr(0, dot);
}

void RunPasses(Rewriter* rewriter) {
  for (const Pass& pass : kPasses) pass.run(rewriter);
}

Model Finish(Rewriter* rewriter) {
  // Types that only the runtime knows, under the names and in the types that they have now.
  std::map<std::string, DType> known;
  for (const auto& [name, dtype] : rewriter->model.known_types()) {
    const int tensor = rewriter->index.FindTensor(0, name);
    if (tensor < 0) continue;
    for (const auto& [form, local] : rewriter->names[static_cast<size_t>(tensor)]) known[local] = form.dtype;
  }
  Model result(rewriter->model, std::move(rewriter->proto));
  result.SetKnownTypes(std::move(known));
  return result;
}

Model Apply(const Model& model, const Plan& plan) {
  Rewriter rewriter(model.Lifted(), plan);
  RunPasses(&rewriter);
  return Finish(&rewriter);
}

uint64_t CountCasts(const Model& model) {
  uint64_t count = 0;
  const std::function<void(const onnx::GraphProto&)> visit = [&](const onnx::GraphProto& graph) {
    for (const auto& node : graph.node()) {
      count += node.op_type() == "Cast" ? 1 : 0;
      for (const auto& attribute : node.attribute()) {
        if (attribute.has_g()) visit(attribute.g());
      }
    }
  };
  visit(model.proto().graph());
  return count;
}

}  // namespace halfsafe
