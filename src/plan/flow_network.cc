#include "plan/flow_network.h"

#include <boost/graph/compressed_sparse_row_graph.hpp>
#include <boost/graph/push_relabel_max_flow.hpp>
#include <numeric>
#include <utility>

namespace halfsafe {
namespace {

/// Edges in one array, because networks are built once and cut once.
using Graph = boost::compressed_sparse_row_graph<boost::directedS>;

/// What the algorithm works on: each edge and its reverse, all of them in the order of their first ends.
struct Arcs {
  std::vector<std::pair<size_t, size_t>> ends;
  std::vector<int64_t> capacity;
  std::vector<Graph::edge_descriptor> reverse;

  Arcs(size_t vertices, const std::vector<FlowEdge>& edges)
      : ends(2 * edges.size()), capacity(ends.size()), reverse(ends.size()) {
    std::vector<size_t> next(vertices + 1, 0);  // Per vertex, the place of its next arc.
    for (const FlowEdge& edge : edges) {
      ++next[edge.from + 1];
      ++next[edge.to + 1];
    }
    std::partial_sum(next.begin(), next.end(), next.begin());
    for (const FlowEdge& edge : edges) {
      const size_t forth = next[edge.from]++, back = next[edge.to]++;
      ends[forth] = {edge.from, edge.to};
      ends[back] = {edge.to, edge.from};
      capacity[forth] = edge.capacity;
      reverse[forth] = {edge.to, back};
      reverse[back] = {edge.from, forth};
    }
  }
};

/// `values` by vertex or by edge, as Boost wants it.
template <typename T, typename Index>
auto Map(std::vector<T>* values, Index index) {
  return boost::make_iterator_property_map(values->begin(), index);
}

/// The vertices that the source reaches over edges with capacity left.
std::vector<bool> Reachable(size_t source, const Graph& graph, const std::vector<int64_t>& residual) {
  const auto index = boost::get(boost::edge_index, graph);
  std::vector<bool> side(boost::num_vertices(graph), false);
  std::vector<size_t> open = {source};
  side[source] = true;
  while (!open.empty()) {
    const size_t vertex = open.back();
    open.pop_back();
    for (auto [edge, end] = boost::out_edges(vertex, graph); edge != end; ++edge) {
      const size_t target = boost::target(*edge, graph);
      if (residual[get(index, *edge)] <= 0 || side[target]) continue;
      side[target] = true;
      open.push_back(target);
    }
  }
  return side;
}

}  // namespace

std::vector<bool> FlowNetwork::SourceSide(size_t source, size_t sink) const {
  Arcs arcs(vertices_, edges_);
  const Graph graph(boost::edges_are_sorted, arcs.ends.begin(), arcs.ends.end(), vertices_);
  const auto vertex = boost::get(boost::vertex_index, graph);
  const auto edge = boost::get(boost::edge_index, graph);
  std::vector<int64_t> residual(arcs.ends.size());
  boost::push_relabel_max_flow(graph, source, sink, Map(&arcs.capacity, edge), Map(&residual, edge),
                               Map(&arcs.reverse, edge), vertex);
  return Reachable(source, graph, residual);
}

}  // namespace halfsafe
