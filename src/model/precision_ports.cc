#include "model/precision_ports.h"

#include <fmt/format.h>

#include <algorithm>

#include "model/op_traits.h"
#include "model/walk.h"

namespace halfsafe {
namespace {

using Formal = onnx::OpSchema::FormalParameter;

/// The formal parameter of an actual operand; variadic ones repeat the last.
const Formal* FormalOf(const std::vector<Formal>& formals, size_t slot) {
  if (formals.empty()) return nullptr;
  if (slot < formals.size()) return &formals[slot];
  return formals.back().GetOption() == onnx::OpSchema::Variadic ? &formals.back() : nullptr;
}

bool Allows(const Formal& formal, const char* type) {
  const auto& types = formal.GetTypes();
  return std::any_of(types.begin(), types.end(), [&](const auto& allowed) { return *allowed == type; });
}

bool IsControlFlow(const NodeInfo& node) { return !node.bodies.empty(); }

/// Operators whose FP16 form would need an attribute edited that apply doesn't know how to edit.
bool TypedByAttribute(const NodeInfo& node) { return TraitsOf(*node.proto).type_by_attribute; }

/// A type variable that only results have takes its type from an attribute or a default, not from the
/// operands.
bool BoundByInput(const onnx::OpSchema& schema, const std::string& type_variable) {
  return std::any_of(schema.inputs().begin(), schema.inputs().end(),
                     [&](const Formal& formal) { return formal.GetTypeStr() == type_variable; });
}

/// A result whose type no operand decides may still be known to stay FP32: what LayerNormalization computes
/// on the way has the type that stash_type says, and DequantizeLinear can state its result's.
bool StaysFp32(const NodeInfo& node) {
  const auto& attributes = node.schema->attributes();
  return attributes.contains("stash_type") || IntAttribute(*node.proto, "output_dtype", 0) != 0;
}

/// Unless it is stated, the scale of DequantizeLinear decides.
bool FollowsItsScale(const NodeInfo& node) {
  return node.proto->op_type() == "DequantizeLinear" && IntAttribute(*node.proto, "output_dtype", 0) == 0;
}

bool TypeKnownToApply(const NodeInfo& node) {
  const std::string& op = node.proto->op_type();
  return op == "Cast" || op == "ConstantOfShape";
}

}  // namespace

PrecisionPorts::PrecisionPorts(const GraphIndex& index) {
  ports_.resize(index.tensors().size());
  outputs_.resize(index.tensors().size());
  switchable_.assign(index.nodes().size(), false);
  why_not_.resize(index.nodes().size());
  allows_bf16_.assign(index.nodes().size(), true);
  operand_follows_.resize(index.nodes().size());
  for (size_t id = 0; id < index.tensors().size(); ++id) {
    const TensorInfo& tensor = index.tensors()[id];
    if (tensor.is_tensor && tensor.dtype == DType::kFloat) {
      ports_[id].writer = kAlwaysFp32;
      ports_[id].readers.assign(tensor.uses.size(), kAlwaysFp32);
    }
  }
  for (size_t node = 0; node < index.nodes().size(); ++node) {
    operand_follows_[node].assign(index.nodes()[node].inputs.size(), false);
    if (IsControlFlow(index.nodes()[node])) continue;
    ReadNode(index, static_cast<int>(node));
  }
  for (size_t node = 0; node < index.nodes().size(); ++node) {
    if (IsControlFlow(index.nodes()[node])) ReadBodies(index, static_cast<int>(node));
  }
  for (size_t tensor = 0; tensor < ports_.size(); ++tensor) {
    const std::vector<TensorUse>& uses = index.tensors()[tensor].uses;
    for (size_t use = 0; use < ports_[tensor].readers.size(); ++use)
      ports_[tensor].readers[use] = OperandDecider(uses[use].node, uses[use].slot);
  }
  // Readers behind the uses: outputs of the main graph and of bodies. Body outputs belong to the body's node.
  for (size_t graph = 0; graph < index.graphs().size(); ++graph) {
    const GraphInfo& info = index.graphs()[graph];
    for (size_t slot = 0; slot < info.outputs.size(); ++slot) {
      const int tensor = info.outputs[slot];
      outputs_[static_cast<size_t>(tensor)].push_back({static_cast<int>(graph), static_cast<int>(slot)});
      if (of(tensor).writer == kNoFloat) continue;
      const bool follows = info.parent_node >= 0 && switchable_[static_cast<size_t>(info.parent_node)];
      ports_[static_cast<size_t>(tensor)].readers.push_back(follows ? info.parent_node : kAlwaysFp32);
    }
  }
}

int PrecisionPorts::OperandDecider(int node, int slot) const {
  return operand_follows_[static_cast<size_t>(node)][static_cast<size_t>(slot)] ? node : kAlwaysFp32;
}

void PrecisionPorts::ReadNode(const GraphIndex& index, int id) {
  const NodeInfo& node = index.node(id);
  std::string& why_not = why_not_[static_cast<size_t>(id)];
  const auto is_float = [&](int tensor) {
    return tensor >= 0 && ports_[static_cast<size_t>(tensor)].writer != kNoFloat;
  };
  const bool any_float = std::any_of(node.inputs.begin(), node.inputs.end(), is_float) ||
                         std::any_of(node.outputs.begin(), node.outputs.end(), is_float);
  if (!any_float || node.proto->op_type() == "Constant") return;
  if (node.schema == nullptr) {
    why_not = fmt::format("{} has no ONNX schema that says it takes FP16", node.proto->op_type());
    return;
  }
  const auto untyped = [&](int tensor) {
    return tensor >= 0 && index.tensor(tensor).is_tensor && index.tensor(tensor).dtype == DType::kUndefined;
  };
  if (std::any_of(node.inputs.begin(), node.inputs.end(), untyped) ||
      std::any_of(node.outputs.begin(), node.outputs.end(), untyped)) {
    why_not = fmt::format("{} meets a tensor whose type is not known", node.proto->op_type());
    return;
  }
  const auto non_tensor = [&](int tensor) { return tensor >= 0 && !index.tensor(tensor).is_tensor; };
  if (std::any_of(node.inputs.begin(), node.inputs.end(), non_tensor) ||
      std::any_of(node.outputs.begin(), node.outputs.end(), non_tensor)) {
    why_not = fmt::format("{} handles sequences or optionals, which keep their element type",
                          node.proto->op_type());
    return;
  }
  if (const std::string_view only = TraitsOf(*node.proto).only_fp32; !only.empty()) {
    why_not = only;
    return;
  }
  if (TypedByAttribute(node)) {
    why_not = fmt::format("{} takes its type from an attribute", node.proto->op_type());
    return;
  }
  for (size_t slot = 0; slot < node.inputs.size(); ++slot) {
    if (!is_float(node.inputs[slot])) continue;
    const Formal* formal = FormalOf(node.schema->inputs(), slot);
    if (formal == nullptr) continue;
    const bool variable = node.schema->typeConstraintMap().contains(formal->GetTypeStr());
    if (!variable) continue;  // A fixed tensor(float): always FP32.
    if (!Allows(*formal, "tensor(float16)")) {
      why_not = fmt::format("the ONNX schema of {}-{} has no FP16 for {}", node.proto->op_type(),
                            node.schema->SinceVersion(), formal->GetName());
      operand_follows_[static_cast<size_t>(id)].assign(node.inputs.size(), false);
      return;
    }
    operand_follows_[static_cast<size_t>(id)][slot] = true;
    if (!Allows(*formal, "tensor(bfloat16)")) allows_bf16_[static_cast<size_t>(id)] = false;
  }
  std::vector<bool> follows(node.outputs.size(), false);
  for (size_t slot = 0; slot < node.outputs.size(); ++slot) {
    if (!is_float(node.outputs[slot])) continue;
    const Formal* formal = FormalOf(node.schema->outputs(), slot);
    const bool variable =
        formal != nullptr && node.schema->typeConstraintMap().contains(formal->GetTypeStr());
    if (!variable) continue;
    const bool bound =
        BoundByInput(*node.schema, formal->GetTypeStr()) || TypeKnownToApply(node) || FollowsItsScale(node);
    if (!bound && StaysFp32(node)) continue;
    if (!Allows(*formal, "tensor(bfloat16)")) allows_bf16_[static_cast<size_t>(id)] = false;
    follows[slot] = true;
    if (!bound || !Allows(*formal, "tensor(float16)")) {
      why_not = fmt::format("the ONNX schema of {}-{} has no FP16 for {}", node.proto->op_type(),
                            node.schema->SinceVersion(), formal->GetName());
      operand_follows_[static_cast<size_t>(id)].assign(node.inputs.size(), false);
      return;
    }
  }
  for (size_t slot = 0; slot < node.outputs.size(); ++slot) {
    if (!follows[slot]) continue;
    ports_[static_cast<size_t>(node.outputs[slot])].writer = id;
    switchable_[static_cast<size_t>(id)] = true;
  }
  for (size_t slot = 0; slot < node.inputs.size(); ++slot) {
    if (operand_follows_[static_cast<size_t>(id)][slot]) switchable_[static_cast<size_t>(id)] = true;
  }
}

void PrecisionPorts::ReadBodies(const GraphIndex& index, int id) {
  const NodeInfo& node = index.node(id);
  std::string& why_not = why_not_[static_cast<size_t>(id)];
  const auto carries = [&](const std::vector<int>& tensors) {
    return std::any_of(tensors.begin(), tensors.end(),
                       [&](int t) { return t >= 0 && of(t).writer != kNoFloat; });
  };
  if (!carries(node.inputs) && !carries(node.outputs)) return;
  const auto odd = [&](int tensor) { return tensor >= 0 && !index.tensor(tensor).is_tensor; };
  const std::string& op = node.proto->op_type();
  if (node.schema == nullptr || std::any_of(node.outputs.begin(), node.outputs.end(), odd) ||
      (op != "If" && op != "Loop" && op != "Scan")) {
    why_not = fmt::format("{} carries what has no FP16 form", op);
    return;
  }
  switchable_[static_cast<size_t>(id)] = true;
  for (const auto* formals : {&node.schema->inputs(), &node.schema->outputs()}) {
    for (const Formal& formal : *formals) {
      if (Allows(formal, "tensor(float16)") && !Allows(formal, "tensor(bfloat16)"))
        allows_bf16_[static_cast<size_t>(id)] = false;
    }
  }
  const auto follow_writer = [&](int tensor) {
    if (tensor >= 0 && ports_[static_cast<size_t>(tensor)].writer != kNoFloat)
      ports_[static_cast<size_t>(tensor)].writer = id;
  };
  for (const int output : node.outputs) follow_writer(output);
  for (const int body : node.bodies) {
    for (const int input : index.graphs()[static_cast<size_t>(body)].inputs) follow_writer(input);
  }
  for (size_t slot = 0; slot < node.inputs.size(); ++slot) {
    const int input = node.inputs[slot];
    if (input < 0 || of(input).writer == kNoFloat) continue;
    operand_follows_[static_cast<size_t>(id)][slot] = true;
  }
}

}  // namespace halfsafe
