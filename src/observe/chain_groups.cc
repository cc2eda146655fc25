#include "observe/chain_groups.h"

#include <algorithm>
#include <map>
#include <numeric>

namespace halfsafe {
namespace {

/// Nodes of a group: a bound for the blocks that are in the cache at a time.
constexpr size_t kMostNodes = 32;

/// Per node of the main graph, the nodes that write what it or its bodies read.
std::vector<std::vector<int>> Producers(const GraphIndex& index) {
  std::vector<std::vector<int>> producers(index.nodes().size());
  for (const TensorInfo& tensor : index.tensors()) {
    if (tensor.graph != 0 || tensor.producer < 0) continue;
    for (const TensorUse& use : tensor.uses) {
      int reader = use.node;
      for (int graph = index.node(reader).graph; graph != 0; graph = index.node(reader).graph)
        reader = index.graphs()[static_cast<size_t>(graph)].parent_node;
      producers[static_cast<size_t>(reader)].push_back(tensor.producer);
    }
  }
  return producers;
}

int Root(std::vector<int>* parents, int node) {
  int& parent = (*parents)[static_cast<size_t>(node)];
  return parent == node ? node : parent = Root(parents, parent);
}

}  // namespace

std::vector<std::vector<int>> GroupNodes(const GraphIndex& index, const std::vector<bool>& fits) {
  // A node's phase is the largest number of steps on a path to it that leave or enter nodes which don't fit.
  // Groups are the connected nodes of one phase: every edge between two groups leads to a later phase, so
  // that no path returns to a group that it left.
  const std::vector<std::vector<int>> producers = Producers(index);
  std::vector<int> phase(index.nodes().size(), 0);
  std::vector<int> parents(index.nodes().size());
  std::iota(parents.begin(), parents.end(), 0);
  for (size_t node = 0; node < index.nodes().size(); ++node) {
    if (index.node(static_cast<int>(node)).graph != 0) continue;
    const auto joins = [&](int producer) { return fits[node] && fits[static_cast<size_t>(producer)]; };
    for (const int producer : producers[node])
      phase[node] = std::max(phase[node], phase[static_cast<size_t>(producer)] + (joins(producer) ? 0 : 1));
    for (const int producer : producers[node]) {
      if (joins(producer) && phase[static_cast<size_t>(producer)] == phase[node])
        parents[static_cast<size_t>(Root(&parents, producer))] = Root(&parents, static_cast<int>(node));
    }
  }
  std::map<int, std::vector<int>> members;
  for (size_t node = 0; node < index.nodes().size(); ++node) {
    if (fits[node]) members[Root(&parents, static_cast<int>(node))].push_back(static_cast<int>(node));
  }
  std::vector<std::vector<int>> groups;
  for (const auto& [root, nodes] : members) {
    // Pieces of a group in graph order read only earlier ones.
    for (size_t begin = 0; begin < nodes.size(); begin += kMostNodes) {
      const size_t end = std::min(nodes.size(), begin + kMostNodes);
      groups.emplace_back(nodes.begin() + static_cast<std::ptrdiff_t>(begin),
                          nodes.begin() + static_cast<std::ptrdiff_t>(end));
    }
  }
  return groups;
}

}  // namespace halfsafe
