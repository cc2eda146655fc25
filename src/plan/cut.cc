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
  int64_t never = 1;
  for (const int64_t cost : problem.fp32_cost) never += cost;
  for (const CutTensor& tensor : problem.tensors) never += 2 * tensor.cast_cost;
  FlowNetwork network(nodes + 2);
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
