#include "plan/work.h"

#include <algorithm>
#include <unordered_map>

#include "model/op_traits.h"
#include "model/walk.h"

namespace halfsafe {

double ElementsPerSample(const GraphIndex& index, const RangeTable& ranges, int tensor) {
  const TensorStats* stats = ranges.Find(index.tensor(tensor).name);
  if (stats == nullptr) return 1024.0;
  const double elements = static_cast<double>(stats->count + stats->nan_count + stats->inf_count);
  return stats->constant || ranges.samples == 0 ? elements : elements / static_cast<double>(ranges.samples);
}

double MultiplyAdds(const GraphIndex& index, const RangeTable& ranges, const NodeInfo& node) {
  if (TraitsOf(*node.proto).sums != Sums::kProducts || node.inputs.size() < 2 || node.inputs[1] < 0 ||
      node.outputs.empty())
    return 0.0;
  const TensorInfo& weight = index.tensor(node.inputs[1]);
  const double outputs = node.outputs[0] < 0 ? 0.0 : ElementsPerSample(index, ranges, node.outputs[0]);
  if (weight.shape.empty()) return outputs;
  const auto size = [&](size_t axis) {
    return static_cast<double>(std::max<int64_t>(1, weight.shape[axis]));
  };
  const std::string& op = node.proto->op_type();
  double per_result = 1.0;
  if (op == "Conv" || op == "ConvTranspose") {
    // Conv: M x C/group x kernel, an output meets all but the first axis. ConvTranspose: C x M/group x
    // kernel, an input does.
    for (size_t axis = 1; axis < weight.shape.size(); ++axis) per_result *= size(axis);
    return (op == "Conv" ? outputs : ElementsPerSample(index, ranges, node.inputs[0])) * per_result;
  }
  const size_t rank = weight.shape.size();
  if (op == "Gemm") {
    per_result = size(IntAttribute(*node.proto, "transB", 0) != 0 ? rank - 1 : 0);
  } else if (rank >= 2) {
    per_result = size(rank - 2);
  }
  return outputs * per_result;
}

std::optional<double> Fp16Share(const Model& model, const RangeTable& ranges, const Plan& plan) {
  const GraphIndex& index = model.index();
  std::unordered_map<std::string, bool> in_half;
  for (const NodePlan& node : plan.nodes) in_half[node.name] = node.precision == plan.half;
  double total = 0.0, half = 0.0;
  for (const NodeInfo& node : index.nodes()) {
    const double work = MultiplyAdds(index, ranges, node);
    total += work;
    if (const auto found = in_half.find(node.name); found != in_half.end() && found->second) half += work;
  }
  if (total == 0.0) return std::nullopt;
  return half / total;
}

}  // namespace halfsafe
