#include "model/node_order.h"

#include <functional>
#include <queue>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "model/walk.h"

namespace halfsafe {
namespace {

std::set<std::string> ReadFromAround(const onnx::GraphProto& body);

/// What a node reads: its inputs, and what its bodies take from around them.
std::set<std::string> Reads(const onnx::NodeProto& node) {
  std::set<std::string> names(node.input().begin(), node.input().end());
  for (const auto& attribute : node.attribute()) {
    if (attribute.has_g()) names.merge(ReadFromAround(attribute.g()));
  }
  return names;
}

std::set<std::string> ReadFromAround(const onnx::GraphProto& body) {
  std::set<std::string> names;
  for (const auto& node : body.node()) names.merge(Reads(node));
  for (const auto& output : body.output()) names.insert(output.name());
  for (const auto& input : body.input()) names.erase(input.name());
  for (const auto& initializer : body.initializer()) names.erase(initializer.name());
  for (const auto& node : body.node()) {
    for (const auto& output : node.output()) names.erase(output);
  }
  return names;
}

/// The nodes that each node of a graph has to wait for, by position.
std::vector<std::set<int>> WaitsFor(const onnx::GraphProto& graph) {
  std::unordered_map<std::string, int> writers;
  for (int i = 0; i < graph.node_size(); ++i) {
    for (const std::string& output : graph.node(i).output()) writers.emplace(output, i);
  }
  std::vector<std::set<int>> waits;
  for (int i = 0; i < graph.node_size(); ++i) {
    std::set<int>& of_node = waits.emplace_back();
    for (const std::string& name : Reads(graph.node(i))) {
      const auto writer = writers.find(name);
      if (!name.empty() && writer != writers.end() && writer->second != i) of_node.insert(writer->second);
    }
  }
  return waits;
}

/// The positions in order, the smallest first of those that may come next; fewer than all where some wait for
/// one another.
std::vector<int> Order(const std::vector<std::set<int>>& waits) {
  std::vector<std::vector<int>> readers(waits.size());
  std::vector<size_t> open(waits.size());
  std::priority_queue<int, std::vector<int>, std::greater<>> next;
  for (size_t i = 0; i < waits.size(); ++i) {
    open[i] = waits[i].size();
    if (open[i] == 0) next.push(static_cast<int>(i));
    for (const int writer : waits[i]) readers[static_cast<size_t>(writer)].push_back(static_cast<int>(i));
  }
  std::vector<int> order;
  while (!next.empty()) {
    order.push_back(next.top());
    next.pop();
    for (const int reader : readers[static_cast<size_t>(order.back())]) {
      if (--open[static_cast<size_t>(reader)] == 0) next.push(reader);
    }
  }
  return order;
}

void SortGraph(onnx::GraphProto* graph) {
  const std::vector<std::set<int>> waits = WaitsFor(*graph);
  bool sorted = true;
  for (size_t i = 0; i < waits.size(); ++i)
    sorted = sorted && (waits[i].empty() || *waits[i].rbegin() < static_cast<int>(i));
  if (sorted) return;
  const std::vector<int> order = Order(waits);
  if (order.size() < waits.size()) return;
  google::protobuf::RepeatedPtrField<onnx::NodeProto> nodes;
  nodes.Swap(graph->mutable_node());
  for (const int position : order) graph->add_node()->Swap(nodes.Mutable(position));
}

}  // namespace

void SortNodes(onnx::GraphProto* graph) {
  for (onnx::GraphProto* inner : AllGraphs(graph)) SortGraph(inner);
}

}  // namespace halfsafe
