#include "plan/cut.h"

#include <algorithm>

#include "plan/flow_network.h"

namespace halfsafe {
namespace {

bool IsFp32(int end, const std::vector<bool>& fp32) {
  return end == kFixedFp32 || (end >= 0 && fp32[static_cast<size_t>(end)]);
}

}  // namespace

std::vector<bool> CheapestAssignment(const CutProblem& problem) {
  const size_t nodes = problem.fp32_cost.size();
  const size_t source = nodes, sink = nodes + 1;
  FlowNetwork network(nodes + 2);
  for (size_t node = 0; node < nodes; ++node) network.Connect(node, sink, problem.fp32_cost[node]);
  // Who has no choice is the source rather than a vertex tied to it.
  const auto vertex = [&](int end) {
    if (end < 0) return end == kFixedFp32 ? source : sink;
    return problem.must_fp32[static_cast<size_t>(end)] ? source : static_cast<size_t>(end);
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
    // No dearer than the edge before: one alone costs as much as moving the helper over.
    for (const int reader : tensor.readers) {
      network.Connect(down, vertex(reader), tensor.cast_cost);
      network.Connect(vertex(reader), up, tensor.cast_cost);
    }
  }
  std::vector<bool> side = network.SourceSide(source, sink);
  side.resize(nodes);
  for (size_t node = 0; node < nodes; ++node) side[node] = side[node] || problem.must_fp32[node];
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
