#include "model/graph_index.h"

#include <fmt/format.h>

#include <map>
#include <new>
#include <unordered_set>

#include "halfsafe/error.h"
#include "model/infer_types.h"
#include "model/runtime_schemas.h"
#include "model/walk.h"

namespace halfsafe {
namespace {

/// Bytes of constants whose values shapes may depend on; and of those that bodies are given copies of.
constexpr size_t kSmallEnough = 4096;
constexpr size_t kSmallInBodies = 256;
/// Bodies inside bodies: far past any real model, far from exhausting the stack.
constexpr int kDeepestBodies = 64;

/// Inference looks through all that is known outside of a body, for each body: what it may look at in all
/// takes seconds.
constexpr uint64_t kMostLookedThrough = 200'000'000;

/// Names in bodies begin with those of all nodes around them: what names take in all, whatever the model's
/// size, and how many times its size on top.
constexpr uint64_t kMostNameBytes = uint64_t{64} << 20;
constexpr uint64_t kMostNameTimes = 16;

}  // namespace

std::string GraphIndex::Numbers::Unused(const std::string& base,
                                        const std::function<bool(const std::string&)>& take) {
  if (take(base)) return base;
  int& last = last_.emplace(base, 1).first->second;
  while (true) {
    std::string name = fmt::format("{}#{}", base, ++last);
    if (take(name)) return name;
  }
}

GraphIndex::GraphIndex(const Model& model) : path_(model.path().string()), proto_(model.proto()) {
  AddGraph(model.proto().graph(), "", -1);
  RequireShortNames();
  NameTensors();
  NameNodes();
  // Shape inference needs the values of small tensors (shapes, axes) but none of the weights.
  onnx::ModelProto light = WithoutLargeTensors(model.proto(), kSmallEnough);
  GiveConstantsToBodies(&light);
  try {
    InferTypes(&light, onnx::ShapeInferenceOptions(/*check_type_val=*/false, /*strict_mode_val=*/0,
                                                   /*data_prop_val=*/true));
  } catch (const std::bad_alloc&) {
    throw;
  } catch (const std::exception&) {
    // What inference could not prove stays unknown here; the runtime is asked for what matters.
  }
  ReadTypes(&light);
  for (const auto& [name, dtype] : model.known_types()) {
    if (const int id = FindTensor(0, name); id >= 0) tensors_[static_cast<size_t>(id)].dtype = dtype;
  }
}

int GraphIndex::AddTensor(const std::string& local, int graph, TensorKind kind) {
  TensorInfo tensor;
  tensor.local = local;
  tensor.graph = graph;
  tensor.kind = kind;
  const int id = static_cast<int>(tensors_.size());
  GraphInfo& owner = graphs_[static_cast<size_t>(graph)];
  if (!owner.tensors.emplace(local, id).second) {
    throw BadInput(fmt::format("{}: tensor {}{} is written twice", path_, owner.scope, local));
  }
  tensors_.push_back(std::move(tensor));
  return id;
}

int GraphIndex::Resolve(const std::string& local, int graph) const {
  for (; graph >= 0; graph = graphs_[static_cast<size_t>(graph)].parent_graph) {
    if (const int found = FindTensor(graph, local); found >= 0) return found;
  }
  return -1;
}

int GraphIndex::AddGraph(const onnx::GraphProto& graph, const std::string& path, int parent_graph) {
  int depth = 0;
  for (int outer = parent_graph; outer >= 0; outer = graphs_[static_cast<size_t>(outer)].parent_graph)
    ++depth;
  if (depth >= kDeepestBodies) {
    throw BadInput(fmt::format("{}: bodies are nested more than {} deep", path_, kDeepestBodies));
  }
  const int id = static_cast<int>(graphs_.size());
  // Nodes may share a name, and nodes without one may share that of their first output.
  const std::string scope = path.empty() ? "" : scopes_.Unused(path, [&](const std::string& name) {
    return paths_.insert(name).second;
  }) + "/";
  graphs_.push_back({&graph, scope, -1, parent_graph, {}, {}, {}, {}});
  for (int outer = parent_graph; outer >= 0; outer = graphs_[static_cast<size_t>(outer)].parent_graph)
    looked_through_ += graphs_[static_cast<size_t>(outer)].tensors.size();
  if (looked_through_ > kMostLookedThrough) {
    throw BadInput(
        fmt::format("{}: it has too many bodies of If, Loop and Scan, {} and more, for what lies around them",
                    path_, graphs_.size()));
  }
  for (const auto& initializer : graph.initializer()) {
    const int tensor = AddTensor(initializer.name(), id, TensorKind::kConstant);
    tensors_[static_cast<size_t>(tensor)].data = &initializer;
    tensors_[static_cast<size_t>(tensor)].dtype = static_cast<DType>(initializer.data_type());
  }
  for (const auto& input : graph.input()) {
    // Before IR version 4 every initializer is listed among the inputs too.
    if (FindTensor(id, input.name()) >= 0) continue;
    const int tensor = AddTensor(input.name(), id, id == 0 ? TensorKind::kInput : TensorKind::kBodyInput);
    graphs_[static_cast<size_t>(id)].inputs.push_back(tensor);
  }
  for (const auto& node : graph.node()) AddNode(node, id);
  for (const auto& output : graph.output()) {
    const int tensor = Resolve(output.name(), id);
    if (tensor < 0) {
      throw BadInput(fmt::format("{}: output {}{} is never written", path_, scope, output.name()));
    }
    tensors_[static_cast<size_t>(tensor)].graph_output = true;
    graphs_[static_cast<size_t>(id)].outputs.push_back(tensor);
  }
  return id;
}

void GraphIndex::AddNode(const onnx::NodeProto& proto, int graph) {
  NodeInfo node;
  node.proto = &proto;
  node.graph = graph;
  const std::string path = graphs_[static_cast<size_t>(graph)].scope + LocalNodeName(proto);
  for (const auto& input : proto.input()) {
    const int tensor = input.empty() ? -1 : Resolve(input, graph);
    if (tensor < 0 && !input.empty()) {
      throw BadInput(fmt::format("{}: node {} ({}) reads {}, which nothing before it writes", path_, path,
                                 proto.op_type(), input));
    }
    node.inputs.push_back(tensor);
  }
  const std::string domain = proto.domain() == "ai.onnx" ? "" : proto.domain();
  node.schema = OnnxSchema(proto.op_type(), OpsetVersion(proto_, domain), domain);
  if (node.schema == nullptr)
    node.runtime_schema = RuntimeSchema(proto.op_type(), OpsetVersion(proto_, domain), domain);
  if (node.schema != nullptr) {
    try {
      node.schema->Verify(proto);
    } catch (const std::bad_alloc&) {
      throw;
    } catch (const std::exception& error) {
      throw BadInput(fmt::format("{}: node {} ({}): {}", path_, path, proto.op_type(), error.what()));
    }
  }
  for (const auto& attribute : proto.attribute()) {
    if (attribute.has_g()) {
      node.bodies.push_back(AddGraph(attribute.g(), path + "/" + attribute.name(), graph));
    }
  }
  const int id = static_cast<int>(nodes_.size());
  for (const int body : node.bodies) graphs_[static_cast<size_t>(body)].parent_node = id;
  const bool constant = proto.op_type() == "Constant" && domain.empty();
  if (constant &&
      (proto.attribute_size() != 1 || (proto.attribute(0).name() == "value" && !proto.attribute(0).has_t())))
    throw BadInput(fmt::format("{}: node {} (Constant) has {} values, expected one", path_, path,
                               proto.attribute_size()));
  for (const auto& output : proto.output()) {
    if (output.empty()) {
      node.outputs.push_back(-1);
      continue;
    }
    const int tensor = AddTensor(output, graph, constant ? TensorKind::kConstant : TensorKind::kActivation);
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
  graphs_[static_cast<size_t>(graph)].nodes.push_back(id);
  nodes_.push_back(std::move(node));
}

void GraphIndex::RequireShortNames() const {
  uint64_t bytes = 0;
  for (const GraphInfo& graph : graphs_)
    bytes += graph.scope.size() * (graph.tensors.size() + graph.nodes.size());
  if (bytes > kMostNameBytes + kMostNameTimes * proto_.ByteSizeLong()) {
    throw BadInput(fmt::format(
        "{}: names of what lies in bodies of If, Loop and Scan take {} bytes, because those of the nodes "
        "around them are so long",
        path_, bytes));
  }
}

void GraphIndex::NameTensors() {
  // The main graph's tensors keep their names whatever bodies hold, so they come first. A local name may look
  // like a path; then the tensor in the body gets a number behind its own.
  Numbers numbers;
  for (const bool main_graph : {true, false}) {
    for (size_t id = 0; id < tensors_.size(); ++id) {
      TensorInfo& tensor = tensors_[id];
      if ((tensor.graph == 0) != main_graph) continue;
      const std::string path = graphs_[static_cast<size_t>(tensor.graph)].scope + tensor.local;
      tensor.name = numbers.Unused(path, [&](const std::string& name) {
        return tensor_by_name_.emplace(name, static_cast<int>(id)).second;
      });
    }
  }
}

void GraphIndex::NameNodes() {
  // A name that several nodes share tells none of them apart, so these go by their first output.
  std::unordered_map<std::string, int> count;
  const auto full = [&](const NodeInfo& node) {
    return graphs_[static_cast<size_t>(node.graph)].scope + node.proto->name();
  };
  for (const NodeInfo& node : nodes_) ++count[full(node)];
  Numbers numbers;
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
    node.name = numbers.Unused(node.name, [&](const std::string& name) {
      return node_by_name_.emplace(name, static_cast<int>(id)).second;
    });
  }
}

void GraphIndex::GiveConstantsToBodies(onnx::ModelProto* light) const {
  const std::vector<onnx::GraphProto*> graphs = AllGraphs(light->mutable_graph());
  for (size_t number = 1; number < graphs.size(); ++number) {
    std::unordered_set<std::string> given;
    for (const auto& node : graphs[number]->node()) {
      for (const auto& input : node.input()) {
        const int id = input.empty() ? -1 : Resolve(input, static_cast<int>(number));
        if (id < 0 || tensor(id).data == nullptr || tensor(id).graph == static_cast<int>(number)) continue;
        if (tensor(id).data->ByteSizeLong() > kSmallInBodies || !given.insert(input).second) continue;
        *graphs[number]->add_initializer() = *tensor(id).data;
        graphs[number]->mutable_initializer()->rbegin()->set_name(input);
      }
    }
  }
}

void GraphIndex::ReadTypes(onnx::ModelProto* inferred) {
  const std::vector<onnx::GraphProto*> graphs = AllGraphs(inferred->mutable_graph());
  for (size_t id = 0; id < graphs.size(); ++id) {
    const int graph = static_cast<int>(id);
    for (const auto& value : graphs[id]->output()) ReadType(value, graph);
    for (const auto& value : graphs[id]->value_info()) ReadType(value, graph);
    for (const auto& value : graphs[id]->input()) ReadType(value, graph);
  }
  for (TensorInfo& tensor : tensors_) {
    if (tensor.data == nullptr) continue;
    // What is stated of a constant elsewhere may be wrong: its data decides.
    tensor.dtype = static_cast<DType>(tensor.data->data_type());
    tensor.has_rank = true;
    tensor.shape.assign(tensor.data->dims().begin(), tensor.data->dims().end());
  }
}

void GraphIndex::ReadType(const onnx::ValueInfoProto& value, int graph) {
  const int id = FindTensor(graph, value.name());
  if (id < 0 || !value.has_type()) return;
  TensorInfo& tensor = tensors_[static_cast<size_t>(id)];
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
}

int GraphIndex::FindTensor(int graph, const std::string& local) const {
  const auto& tensors = graphs_[static_cast<size_t>(graph)].tensors;
  const auto found = tensors.find(local);
  return found == tensors.end() ? -1 : found->second;
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
