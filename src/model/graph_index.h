#pragma once

#include <onnx/defs/schema.h>
#include <onnx/onnx_pb.h>

#include <cstdint>
#include <functional>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "halfsafe/model.h"

namespace halfsafe {

/// What gives a tensor its value.
enum class TensorKind {
  kInput,       ///< A graph input that every sample gives.
  kConstant,    ///< An initializer, or the output of a Constant node.
  kBodyInput,   ///< An input of an If, Loop or Scan body, given by its node.
  kActivation,  ///< The output of any other node.
};

struct TensorUse {
  int node = -1;
  int slot = 0;  ///< Position among the node's inputs.
};

/// One tensor of a model, in any of its graphs.
struct TensorInfo {
  std::string name;   ///< Unique in the model: the scope's path and the local name.
  std::string local;  ///< The name inside its graph.
  int graph = 0;
  TensorKind kind = TensorKind::kActivation;
  bool is_tensor = true;            ///< False for sequences, optionals and maps.
  DType dtype = DType::kUndefined;  ///< Undefined where inference found no type.
  bool has_rank = false;
  std::vector<int64_t> shape;  ///< -1 for free dimensions; meaningful when has_rank.
  int producer = -1;           ///< Node that writes it; -1 for inputs and initializers.
  int producer_slot = 0;
  std::vector<TensorUse> uses;              ///< Readers in all graphs, in graph order.
  bool graph_output = false;                ///< An output of the main graph or of a body.
  const onnx::TensorProto* data = nullptr;  ///< The value of a dense constant.
};

struct NodeInfo {
  const onnx::NodeProto* proto = nullptr;
  std::string name;  ///< Unique in the model: the scope's path and the node's name, or its first output's.
  int graph = 0;
  std::vector<int> inputs;                         ///< Tensor per input slot, -1 for an omitted one.
  std::vector<int> outputs;                        ///< Tensor per output slot, -1 for an omitted one.
  std::vector<int> bodies;                         ///< Graphs among its attributes.
  const onnx::OpSchema* schema = nullptr;          ///< nullptr for operators that ONNX doesn't define.
  const onnx::OpSchema* runtime_schema = nullptr;  ///< ONNX Runtime's, where it has one and ONNX none.
};

struct GraphInfo {
  const onnx::GraphProto* proto = nullptr;
  std::string scope;     ///< "" for the main graph, else the path that prefixes its names; no two are equal.
  int parent_node = -1;  ///< The If, Loop or Scan whose body this is.
  int parent_graph = -1;
  std::vector<int> inputs;   ///< Tensors of the graph's inputs.
  std::vector<int> outputs;  ///< Tensors that its outputs name, which may belong to an outer graph.
  std::vector<int> nodes;    ///< Its own, in their order.
  std::unordered_map<std::string, int> tensors;  ///< Those that it defines, by local name.
};

/// Every tensor, node and graph of a model by number, with names resolved across bodies: who writes a tensor,
/// who reads it, what type it has. Nodes are in graph order, a body's before the node that holds it; graphs
/// are in the order of AllGraphs. Refers into the model, which must outlive it and stay unchanged.
class GraphIndex {
 public:
  /// Throws Error(kBadInput) when the graph is broken: a name read before it is written, or written twice, a
  /// node that doesn't match its operator's schema, bodies nested too deep.
  explicit GraphIndex(const Model& model);

  const std::vector<TensorInfo>& tensors() const { return tensors_; }
  const std::vector<NodeInfo>& nodes() const { return nodes_; }
  const std::vector<GraphInfo>& graphs() const { return graphs_; }
  const TensorInfo& tensor(int id) const { return tensors_[static_cast<size_t>(id)]; }
  const NodeInfo& node(int id) const { return nodes_[static_cast<size_t>(id)]; }

  /// Numbers of a graph's own nodes, in their order.
  const std::vector<int>& NodesOf(int graph) const { return graphs_[static_cast<size_t>(graph)].nodes; }

  /// Number of the tensor that this graph defines under this local name; -1 when there is none.
  int FindTensor(int graph, const std::string& local) const;
  /// Number of the tensor or node with this full name; -1 when there is none.
  int FindTensor(const std::string& name) const;
  int FindNode(const std::string& name) const;

 private:
  /// Puts numbers behind names that come more than once: "x", "x#2", "x#3".
  class Numbers {
   public:
    /// The first of these that `take` takes.
    std::string Unused(const std::string& base, const std::function<bool(const std::string&)>& take);

   private:
    std::unordered_map<std::string, int>
        last_;  ///< What was tried last for a name: one that comes often is found at once.
  };

  int AddGraph(const onnx::GraphProto& graph, const std::string& path, int parent_graph);
  int AddTensor(const std::string& local, int graph, TensorKind kind);
  void AddNode(const onnx::NodeProto& node, int graph);
  int Resolve(const std::string& local, int graph) const;
  /// ONNX's inference looks into a body without the constants around it, on whose values shapes depend.
  void GiveConstantsToBodies(onnx::ModelProto* light) const;
  void ReadTypes(onnx::ModelProto* inferred);
  void ReadType(const onnx::ValueInfoProto& value, int graph);
  void RequireShortNames() const;
  void NameTensors();
  void NameNodes();

  std::string path_;  ///< Of the model, for messages.
  const onnx::ModelProto& proto_;
  std::vector<TensorInfo> tensors_;
  std::vector<NodeInfo> nodes_;
  std::vector<GraphInfo> graphs_;
  std::unordered_set<std::string> paths_;  ///< Of bodies.
  Numbers scopes_;
  uint64_t looked_through_ = 0;  ///< Tensors in the graphs around each body, in all.
  std::unordered_map<std::string, int> tensor_by_name_;
  std::unordered_map<std::string, int> node_by_name_;
};

}  // namespace halfsafe
