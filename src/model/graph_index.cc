#include "model/graph_index.h"

#include <fmt/format.h>
#include <onnx/shape_inference/implementation.h>

#include <map>

#include "halfsafe/error.h"
#include "model/walk.h"

namespace halfsafe {
namespace {

/// Bodies inside bodies: far past any real model, far from exhausting the stack.
constexpr size_t kDeepest = 64;

}  // namespace

GraphIndex::GraphIndex(const Model& model) : model_(model) {
  std::vector<Scope> scopes;
  AddGraph(model.proto().graph(), "", -1, &scopes);
  NameNodes();
  // Shape inference needs the values of small tensors (shapes, axes) but none of the weights.
  onnx::ModelProto light = WithoutLargeTensors(model.proto(), 4096);
  try {
    onnx::shape_inference::InferShapes(light, onnx::OpSchemaRegistry::Instance(),
                                       onnx::ShapeInferenceOptions(/*check_type=*/false, /*strict_mode=*/0,
                                                                   /*data_prop=*/true));
  } catch (const std::exception&) {
    // What inference could not prove stays unknown here; the runtime is asked for what matters.
  }
  ReadTypes(light);
  for (const auto& [name, dtype] : model.known_types()) {
    if (const int id = FindTensor(name); id >= 0) tensors_[static_cast<size_t>(id)].dtype = dtype;
  }
}

int GraphIndex::AddTensor(const std::string& local, int graph, TensorKind kind, std::vector<Scope>* scopes) {
  TensorInfo tensor;
  tensor.local = local;
  tensor.name = graphs_[static_cast<size_t>(graph)].scope + local;
  tensor.graph = graph;
  tensor.kind = kind;
  const int id = static_cast<int>(tensors_.size());
  if (!scopes->back().emplace(local, id).second) {
    throw BadInput(fmt::format("{}: tensor {} is written twice", model_.path().string(), tensor.name));
  }
  // Two bodies of unnamed nodes may share a path; their later tensors get a number behind the name.
  for (int copy = 2; !tensor_by_name_.emplace(tensor.name, id).second; ++copy) {
    tensor.name = fmt::format("{}{}#{}", graphs_[static_cast<size_t>(graph)].scope, local, copy);
  }
  tensors_.push_back(std::move(tensor));
  return id;
}

int GraphIndex::Resolve(const std::string& local, const std::vector<Scope>& scopes) const {
  for (auto scope = scopes.rbegin(); scope != scopes.rend(); ++scope) {
    if (const auto found = scope->find(local); found != scope->end()) return found->second;
  }
  return -1;
}

int GraphIndex::AddGraph(const onnx::GraphProto& graph, const std::string& path, int parent_graph,
                         std::vector<Scope>* scopes) {
  if (scopes->size() >= kDeepest) {
    throw BadInput(fmt::format("{}: bodies are nested more than {} deep", model_.path().string(), kDeepest));
  }
  const int id = static_cast<int>(graphs_.size());
  graphs_.push_back({&graph, path, -1, parent_graph, {}, {}});
  scopes->emplace_back();
  for (const auto& initializer : graph.initializer()) {
    const int tensor = AddTensor(initializer.name(), id, TensorKind::kConstant, scopes);
    tensors_[static_cast<size_t>(tensor)].data = &initializer;
    tensors_[static_cast<size_t>(tensor)].dtype = static_cast<DType>(initializer.data_type());
  }
  for (const auto& initializer : graph.sparse_initializer()) {
    const int tensor = AddTensor(initializer.values().name(), id, TensorKind::kConstant, scopes);
    tensors_[static_cast<size_t>(tensor)].dtype = static_cast<DType>(initializer.values().data_type());
  }
  for (const auto& input : graph.input()) {
    // Before IR version 4 every initializer is listed among the inputs too.
    if (scopes->back().contains(input.name())) continue;
    const int tensor =
        AddTensor(input.name(), id, path.empty() ? TensorKind::kInput : TensorKind::kBodyInput, scopes);
    graphs_[static_cast<size_t>(id)].inputs.push_back(tensor);
  }
  for (const auto& node : graph.node()) AddNode(node, id, scopes);
  for (const auto& output : graph.output()) {
    const int tensor = Resolve(output.name(), *scopes);
    if (tensor < 0) {
      throw BadInput(
          fmt::format("{}: output {}{} is never written", model_.path().string(), path, output.name()));
    }
    tensors_[static_cast<size_t>(tensor)].graph_output = true;
    graphs_[static_cast<size_t>(id)].outputs.push_back(tensor);
  }
  scopes->pop_back();
  return id;
}

void GraphIndex::AddNode(const onnx::NodeProto& proto, int graph, std::vector<Scope>* scopes) {
  NodeInfo node;
  node.proto = &proto;
  node.graph = graph;
  const std::string path = graphs_[static_cast<size_t>(graph)].scope + LocalNodeName(proto);
  for (const auto& input : proto.input()) {
    const int tensor = input.empty() ? -1 : Resolve(input, *scopes);
    if (tensor < 0 && !input.empty()) {
      throw BadInput(fmt::format("{}: node {} ({}) reads {}, which nothing before it writes",
                                 model_.path().string(), path, proto.op_type(), input));
    }
    node.inputs.push_back(tensor);
  }
  const std::string domain = proto.domain() == "ai.onnx" ? "" : proto.domain();
  node.schema = onnx::OpSchemaRegistry::Schema(proto.op_type(), OpsetVersion(model_.proto(), domain), domain);
  if (node.schema != nullptr) {
    try {
      node.schema->Verify(proto);
    } catch (const std::exception& error) {
      throw BadInput(
          fmt::format("{}: node {} ({}): {}", model_.path().string(), path, proto.op_type(), error.what()));
    }
  }
  for (const auto& attribute : proto.attribute()) {
    if (attribute.has_g()) {
      node.bodies.push_back(AddGraph(attribute.g(), path + "/" + attribute.name() + "/", graph, scopes));
    }
  }
  const int id = static_cast<int>(nodes_.size());
  for (const int body : node.bodies) graphs_[static_cast<size_t>(body)].parent_node = id;
  const bool constant = proto.op_type() == "Constant" && domain.empty();
  for (const auto& output : proto.output()) {
    if (output.empty()) {
      node.outputs.push_back(-1);
      continue;
    }
    const int tensor =
        AddTensor(output, graph, constant ? TensorKind::kConstant : TensorKind::kActivation, scopes);
    TensorInfo& info = tensors_[static_cast<size_t>(tensor)];
    info.producer = id;
    info.producer_slot = static_cast<int>(node.outputs.size());
    if (const auto* value = constant ? FindAttribute(proto, "value") : nullptr) {
      info.data = &value->t();
      info.dtype = static_cast<DType>(value->t().data_type());
    }
    node.outputs.push_back(tensor);
  }
  for (size_t slot = 0; slot < node.inputs.size(); ++slot) {
    if (node.inputs[slot] >= 0) {
      tensors_[static_cast<size_t>(node.inputs[slot])].uses.push_back({id, static_cast<int>(slot)});
    }
  }
  nodes_.push_back(std::move(node));
}

void GraphIndex::NameNodes() {
  // A name that several nodes share tells none of them apart, so these go by their first output.
  std::unordered_map<std::string, int> count;
  const auto full = [&](const NodeInfo& node) {
    return graphs_[static_cast<size_t>(node.graph)].scope + node.proto->name();
  };
  for (const NodeInfo& node : nodes_) ++count[full(node)];
  for (size_t id = 0; id < nodes_.size(); ++id) {
    NodeInfo& node = nodes_[id];
    node.name = full(node);
    if (node.proto->name().empty() || count[node.name] > 1) {
      node.name = fmt::format("{}{}", graphs_[static_cast<size_t>(node.graph)].scope, node.proto->op_type());
      for (const int output : node.outputs) {
        if (output < 0) continue;
        node.name = tensor(output).name;
        break;
      }
    }
    const std::string base = node.name;
    for (int copy = 2; !node_by_name_.emplace(node.name, static_cast<int>(id)).second; ++copy) {
      node.name = fmt::format("{}#{}", base, copy);
    }
  }
}

void GraphIndex::ReadTypes(const onnx::ModelProto& inferred) {
  ReadGraphTypes(inferred.graph(), "");
  for (TensorInfo& tensor : tensors_) {
    if (tensor.data == nullptr) continue;
    tensor.has_rank = true;
    tensor.shape.assign(tensor.data->dims().begin(), tensor.data->dims().end());
  }
}

void GraphIndex::ReadGraphTypes(const onnx::GraphProto& graph, const std::string& scope) {
  const auto read = [&](const onnx::ValueInfoProto& value) {
    const auto found = tensor_by_name_.find(scope + value.name());
    if (found == tensor_by_name_.end() || !value.has_type()) return;
    TensorInfo& tensor = tensors_[static_cast<size_t>(found->second)];
    if (!value.type().has_tensor_type()) {
      tensor.is_tensor = value.type().value_case() == onnx::TypeProto::VALUE_NOT_SET;
      return;
    }
    const auto& type = value.type().tensor_type();
    if (type.elem_type() != 0) tensor.dtype = static_cast<DType>(type.elem_type());
    if (!type.has_shape()) return;
    tensor.has_rank = true;
    tensor.shape.clear();
    for (const auto& dim : type.shape().dim()) {
      tensor.shape.push_back(dim.has_dim_value() && dim.dim_value() >= 0 ? dim.dim_value() : -1);
    }
  };
  for (const auto& value : graph.output()) read(value);
  for (const auto& value : graph.value_info()) read(value);
  for (const auto& value : graph.input()) read(value);
  for (const auto& node : graph.node()) {
    for (const auto& attribute : node.attribute()) {
      if (attribute.has_g()) {
        ReadGraphTypes(attribute.g(), scope + LocalNodeName(node) + "/" + attribute.name() + "/");
      }
    }
  }
}

int GraphIndex::FindTensor(const std::string& name) const {
  const auto found = tensor_by_name_.find(name);
  return found == tensor_by_name_.end() ? -1 : found->second;
}

int GraphIndex::FindNode(const std::string& name) const {
  const auto found = node_by_name_.find(name);
  return found == node_by_name_.end() ? -1 : found->second;
}

}  // namespace halfsafe
