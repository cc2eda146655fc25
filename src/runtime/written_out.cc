#include "runtime/written_out.h"

#include <fmt/format.h>
#include <onnx/inliner/inliner.h>
#include <onnx/onnx_pb.h>
#include <onnxruntime_cxx_api.h>

#include <algorithm>
#include <map>
#include <mutex>
#include <set>
#include <unordered_set>
#include <vector>

#include "model/graph_index.h"
#include "model/runnable.h"
#include "model/value_info.h"
#include "model/walk.h"
#include "runtime/provider.h"
#include "runtime/session.h"

namespace halfsafe {
namespace {

/// ONNX Runtime has older operators. Asking costs a session for each operator and the types that it meets.
constexpr int kFirstAsked = 20;
/// Operators that stand for operators that stand for others: far past any real definition.
constexpr int kDeepest = 8;

using Operator = std::pair<std::string, std::string>;  // Domain and name.

bool DefinedByOthers(const NodeInfo& node) {
  return node.schema->HasFunction() || node.schema->HasContextDependentFunction();
}

/// What a session has of a tensor: where 16-bit types are emulated, they are FP32.
DType InSession(const TensorInfo& tensor, Types types) {
  return types == Types::kEmulated && IsSixteenBit(tensor.dtype) ? DType::kFloat : tensor.dtype;
}

/// A model of this node alone, its inputs of the types that they have.
onnx::ModelProto ModelOf(const Model& model, const NodeInfo& node, Types types) {
  onnx::ModelProto proto;
  proto.set_ir_version(model.proto().ir_version());
  *proto.mutable_opset_import() = model.proto().opset_import();
  onnx::GraphProto* graph = proto.mutable_graph();
  graph->set_name("one");
  *graph->add_node() = *node.proto;
  std::set<int> declared;
  for (const int input : node.inputs) {
    const TensorInfo* tensor = input < 0 ? nullptr : &model.index().tensor(input);
    if (tensor != nullptr && declared.insert(input).second)
      Declare(*tensor, InSession(*tensor, types), graph->add_input());
  }
  for (const int output : node.outputs) {
    if (output >= 0) graph->add_output()->set_name(model.index().tensor(output).local);
  }
  return proto;
}

bool RuntimeLacks(const Model& model, const NodeInfo& node, Types types) {
  const std::string text = ModelOf(model, node, types).SerializeAsString();
  Ort::SessionOptions options;
  options.SetIntraOpNumThreads(1);
  options.SetGraphOptimizationLevel(ORT_DISABLE_ALL);
  try {
    const Ort::Session session(Environment(), text.data(), text.size(), options);
  } catch (const Ort::Exception& error) {
    return SaysLacking(error.what());
  }
  return false;
}

/// Constants are no operators, and bodies may hold most of a model.
bool IsAsked(const NodeInfo& node) {
  if (node.schema == nullptr || node.proto->op_type() == "Constant") return false;
  if (IsStandard(node.proto->domain()) && node.schema->SinceVersion() < kFirstAsked) return false;
  return node.bodies.empty() || DefinedByOthers(node);
}

/// The nodes whose operators ONNX Runtime lacks although ONNX has them. It is asked once for an operator and
/// the types that it meets.
std::vector<const NodeInfo*> Lacking(const Model& model, Types types) {
  static std::mutex mutex;
  static std::map<std::string, bool> asked;
  const std::lock_guard<std::mutex> lock(mutex);
  std::vector<const NodeInfo*> lacking;
  for (const NodeInfo& node : model.index().nodes()) {
    if (!IsAsked(node)) continue;
    std::string key =
        fmt::format("{} {} {}", node.proto->domain(), node.proto->op_type(), node.schema->SinceVersion());
    bool tensors = true;
    for (const auto* list : {&node.inputs, &node.outputs}) {
      for (const int id : *list) {
        if (id < 0) continue;
        const TensorInfo& tensor = model.index().tensor(id);
        tensors = tensors && tensor.is_tensor;
        key += fmt::format(" {}", static_cast<int>(InSession(tensor, types)));
      }
    }
    if (!tensors) continue;
    const auto [known, is_new] = asked.try_emplace(key, false);
    if (is_new) known->second = RuntimeLacks(model, node, types);
    if (known->second) lacking.push_back(&node);
  }
  return lacking;
}

/// A definition reads attributes that the node leaves out as if they weren't there, default or not.
void StateDefaults(const onnx::OpSchema& schema, onnx::NodeProto* node) {
  for (const auto& [name, attribute] : schema.attributes()) {
    if (attribute.default_value.name().empty() || FindAttribute(*node, name) != nullptr) continue;
    *node->add_attribute() = attribute.default_value;
  }
}

/// The model with these operators of the main graph written out; nothing where ONNX can't.
std::optional<Model> WriteOut(const Model& model, const std::set<Operator>& operators) {
  onnx::ModelProto proto = model.proto();
  onnx::GraphProto* graph = proto.mutable_graph();
  std::unordered_set<std::string> declared;
  for (const auto* values : {&graph->input(), &graph->output(), &graph->value_info()}) {
    for (const auto& value : *values) declared.insert(value.name());
  }
  for (const auto& tensor : graph->initializer()) declared.insert(tensor.name());
  for (auto& node : *graph->mutable_node()) {
    const Operator op(node.domain(), node.op_type());
    if (!operators.contains(op)) continue;
    const int version = OpsetVersion(proto, IsStandard(node.domain()) ? "" : op.first);
    StateDefaults(
        *onnx::OpSchemaRegistry::Schema(op.second, version, IsStandard(node.domain()) ? "" : op.first),
        &node);
    // Definitions depend on the types of what they read.
    for (const auto& input : node.input()) {
      const int id = input.empty() ? -1 : model.index().FindTensor(0, input);
      const TensorInfo* tensor = id < 0 ? nullptr : &model.index().tensor(id);
      if (tensor == nullptr || !tensor->is_tensor || tensor->dtype == DType::kUndefined) continue;
      if (declared.insert(input).second) Declare(*tensor, tensor->dtype, graph->add_value_info());
    }
  }
  try {
    onnx::inliner::FunctionIdVector ids(operators.begin(), operators.end());
    onnx::inliner::InlineSelectedFunctions(proto, *onnx::inliner::FunctionIdSet::Create(std::move(ids)),
                                           onnx::OpSchemaRegistry::Instance());
  } catch (const std::exception&) {
    return std::nullopt;  // It is then ONNX Runtime's to say what it lacks.
  }
  Model written(model, std::move(proto));
  written.SetKnownTypes(model.known_types());
  return written;
}

bool SameFormals(const std::vector<onnx::OpSchema::FormalParameter>& one,
                 const std::vector<onnx::OpSchema::FormalParameter>& other) {
  return std::equal(one.begin(), one.end(), other.begin(), other.end(), [](const auto& a, const auto& b) {
    return a.GetName() == b.GetName() && a.GetOption() == b.GetOption();
  });
}

/// Whether two versions of an operator differ in types alone.
bool SameButTypes(const onnx::OpSchema& one, const onnx::OpSchema& other) {
  const auto& a = one.attributes();
  const auto& b = other.attributes();
  return SameFormals(one.inputs(), other.inputs()) && SameFormals(one.outputs(), other.outputs()) &&
         std::equal(a.begin(), a.end(), b.begin(), b.end(), [](const auto& x, const auto& y) {
           return x.first == y.first && x.second.required == y.second.required &&
                  x.second.default_value.SerializeAsString() == y.second.default_value.SerializeAsString();
         });
}

/// The model at the newest opset before that of the lacking operators, where no operator is another one
/// there: ONNX Runtime lags behind with versions that only bring more types.
std::optional<Model> AtOlderOpset(const Model& model, const std::vector<const NodeInfo*>& lacking) {
  int target = OpsetVersion(model.proto(), "");
  for (const NodeInfo* node : lacking) {
    if (!IsStandard(node->proto->domain())) return std::nullopt;
    target = std::min(target, node->schema->SinceVersion() - 1);
  }
  if (target < kFirstAsked) return std::nullopt;
  for (const NodeInfo& node : model.index().nodes()) {
    if (!IsStandard(node.proto->domain()) || node.schema == nullptr) continue;
    const onnx::OpSchema* older = onnx::OpSchemaRegistry::Schema(node.proto->op_type(), target, "");
    if (older == nullptr || !SameButTypes(*node.schema, *older)) return std::nullopt;
  }
  onnx::ModelProto proto = model.proto();
  for (auto& import : *proto.mutable_opset_import()) {
    if (IsStandard(import.domain())) import.set_version(target);
  }
  Model lowered(model, std::move(proto));
  lowered.SetKnownTypes(model.known_types());
  return lowered;
}

}  // namespace

std::optional<Model> RunnableForm(const Model& model, bool custom_ops_loaded, Types types) {
  std::optional<Model> form;
  for (int depth = 0; depth < kDeepest; ++depth) {
    const Model& now = form ? *form : model;
    const std::vector<const NodeInfo*> lacking = Lacking(now, types);
    std::set<Operator> defined;
    for (const NodeInfo* node : lacking) {
      if (node->graph == 0 && DefinedByOthers(*node))
        defined.emplace(node->proto->domain(), node->proto->op_type());
    }
    std::optional<Model> next;
    if (!defined.empty()) next = WriteOut(now, defined);
    if (!next && !lacking.empty()) next = AtOlderOpset(now, lacking);
    if (!next) break;
    form = std::move(next);
  }
  std::optional<Model> part = RunnablePart(form ? *form : model, custom_ops_loaded);
  return part ? std::move(part) : std::move(form);
}

}  // namespace halfsafe
