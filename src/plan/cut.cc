#include "plan/cut.h"

#include <algorithm>
#include <boost/graph/adjacency_list.hpp>
#include <boost/graph/boykov_kolmogorov_max_flow.hpp>

namespace halfsafe {
namespace {

using Traits = boost::adjacency_list_traits<boost::vecS, boost::vecS, boost::directedS>;
using Vertex = boost::property<
    boost::vertex_index_t, long,
    boost::property<boost::vertex_color_t, boost::default_color_type,
                    boost::property<boost::vertex_distance_t, long,
                                    boost::property<boost::vertex_predecessor_t, Traits::edge_descriptor>>>>;
using Edge =
    boost::property<boost::edge_capacity_t, int64_t,
                    boost::property<boost::edge_residual_capacity_t, int64_t,
                                    boost::property<boost::edge_reverse_t, Traits::edge_descriptor>>>;
using Graph = boost::adjacency_list<boost::vecS, boost::vecS, boost::directedS, Vertex, Edge>;

class Network {
 public:
  explicit Network(size_t vertices) : graph_(vertices) {}

  /// Cutting `from` (source side) from `to` (sink side) costs `capacity`.
  void Connect(size_t from, size_t to, int64_t capacity) {
    if (from == to || capacity == 0) return;
    const auto edge = boost::add_edge(from, to, graph_).first;
    const auto back = boost::add_edge(to, from, graph_).first;
    boost::put(boost::edge_capacity, graph_, edge, capacity);
    boost::put(boost::edge_capacity, graph_, back, 0);
    boost::put(boost::edge_reverse, graph_, edge, back);
    boost::put(boost::edge_reverse, graph_, back, edge);
  }

  size_t AddVertex() { return boost::add_vertex(graph_); }

  /// Per vertex, whether it is on the source's side of a minimum cut with the smallest source side.
  std::vector<bool> SourceSide(size_t source, size_t sink) {
    boost::boykov_kolmogorov_max_flow(graph_, source, sink);
    const auto residual = boost::get(boost::edge_residual_capacity, graph_);
    // The source tree of the algorithm may have been cut short, so reachability is walked once more.
    std::vector<bool> side(boost::num_vertices(graph_), false);
    std::vector<size_t> open = {source};
    side[source] = true;
    while (!open.empty()) {
      const size_t vertex = open.back();
      open.pop_back();
      for (auto [edge, end] = boost::out_edges(vertex, graph_); edge != end; ++edge) {
        const size_t target = boost::target(*edge, graph_);
        if (boost::get(residual, *edge) <= 0 || side[target]) continue;
        side[target] = true;
        open.push_back(target);
      }
    }
    return side;
  }

 private:
  Graph graph_;
};

bool IsFp32(int end, const std::vector<bool>& fp32) {
  return end == kFixedFp32 || (end >= 0 && fp32[static_cast<size_t>(end)]);
}

}  // namespace

std::vector<bool> CheapestAssignment(const CutProblem& problem) {
  const size_t nodes = problem.fp32_cost.size();
  const size_t source = nodes, sink = nodes + 1;
  int64_t never = 1;
  for (const int64_t cost : problem.fp32_cost) never += cost;
  for (const CutTensor& tensor : problem.tensors) never += 2 * tensor.cast_cost;
  Network network(nodes + 2);
  for (size_t node = 0; node < nodes; ++node) {
    network.Connect(node, sink, problem.fp32_cost[node]);
    if (problem.must_fp32[node]) network.Connect(source, node, never);
  }
  const auto vertex = [&](int end) {
    return end >= 0 ? static_cast<size_t>(end) : end == kFixedFp32 ? source : sink;
  };
  for (const CutTensor& tensor : problem.tensors) {
    if (tensor.cast_cost == 0 || tensor.readers.empty()) continue;
    const size_t writer = vertex(tensor.writer);
    if (tensor.readers.size() == 1) {  // One reader needs no helpers.
      network.Connect(writer, vertex(tensor.readers[0]), tensor.cast_cost);
      network.Connect(vertex(tensor.readers[0]), writer, tensor.cast_cost);
      continue;
    }
    const size_t down = network.AddVertex();  // On the sink's side as soon as one reader is.
    const size_t up = network.AddVertex();    // On the source's side as soon as one reader is.
    network.Connect(writer, down, tensor.cast_cost);
    network.Connect(up, writer, tensor.cast_cost);
    for (const int reader : tensor.readers) {
      network.Connect(down, vertex(reader), never);
      network.Connect(vertex(reader), up, never);
    }
  }
  std::vector<bool> side = network.SourceSide(source, sink);
  side.resize(nodes);
  return side;
}

int64_t AssignmentCost(const CutProblem& problem, const std::vector<bool>& fp32) {
  int64_t total = 0;
  for (size_t node = 0; node < fp32.size(); ++node) total += fp32[node] ? problem.fp32_cost[node] : 0;
  for (const CutTensor& tensor : problem.tensors) {
    const bool writer = IsFp32(tensor.writer, fp32);
    const bool crosses = std::any_of(tensor.readers.begin(), tensor.readers.end(),
                                     [&](int reader) { return IsFp32(reader, fp32) != writer; });
    total += crosses ? tensor.cast_cost : 0;
  }
  return total;
}

}  // namespace halfsafe
