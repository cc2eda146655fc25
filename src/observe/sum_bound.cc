#include "observe/sum_bound.h"

#include <algorithm>
#include <cmath>
#include <optional>
#include <span>

#include "model/op_traits.h"
#include "model/walk.h"

namespace halfsafe {
namespace {

/// Adds to each sum the magnitudes of `inner` values, in order.
void AddMagnitudes(const float* values, size_t inner, std::span<double> sums) {
  if (inner == 1) {  // Outputs lie side by side, as in most products of matrices: all sums at the same time.
    for (size_t i = 0; i < sums.size(); ++i) sums[i] += std::fabs(values[i]);
    return;
  }
  for (double& sum : sums) {
    double part = 0.0;
    for (size_t i = 0; i < inner; ++i) part += std::fabs(values[i]);
    sum += part;
    values += inner;
  }
}

/// Largest sum of |w| that one output element takes from a weight, by the operator's layout; nullopt where
/// unknown.
std::optional<double> LargestWeightSum(const Model& model, const onnx::NodeProto& node,
                                       const TensorInfo& weight) {
  if (weight.data == nullptr || weight.shape.size() < 2 || TensorElementCount(*weight.data) == 0)
    return std::nullopt;
  // The axis of the weight that runs along outputs; all other axes are summed over (Conv: M x C/group x
  // kernel, ConvTranspose: C x M/group x kernel, Gemm: K x N or N x K, MatMul: ... x K x N).
  size_t output_axis = 0;
  const size_t rank = weight.shape.size();
  if (node.op_type() == "Gemm") {
    output_axis = IntAttribute(node, "transB", 0) != 0 ? 0 : 1;
  } else if (node.op_type() == "ConvTranspose") {
    output_axis = 1;
  } else if (node.op_type() == "MatMul") {
    output_axis = rank - 1;
    if (rank > 2) return std::nullopt;
  } else if (node.op_type() != "Conv") {
    return std::nullopt;
  }
  const FloatView view = ViewFloats(model, *weight.data);
  const size_t outputs = static_cast<size_t>(weight.shape[output_axis]);
  size_t inner = 1;
  for (size_t i = output_axis + 1; i < rank; ++i) inner *= static_cast<size_t>(weight.shape[i]);
  std::vector<double> sums(outputs, 0.0);
  const float* next = view.values.data();
  for (const float* const end = next + view.values.size(); next != end; next += outputs * inner)
    AddMagnitudes(next, inner, sums);
  return sums.empty() ? 0.0 : *std::max_element(sums.begin(), sums.end());
}

/// A reduction maps a group of inputs to each result; its size is known where the tensors' sizes are.
double ElementsBound(const SampleSums& input, const SampleSums& output) {
  if (input.elements == 0 || output.elements == 0 || input.elements < output.elements) return input.abs_sum;
  const double group = static_cast<double>(input.elements) / static_cast<double>(output.elements);
  return std::min(input.abs_sum, group * input.abs_max);
}

bool IsPool(const onnx::NodeProto& node) {
  return node.op_type().find("Pool") != std::string::npos && !node.op_type().starts_with("Global");
}

bool IsVariadic(const onnx::NodeProto& node) { return node.op_type() == "Sum" || node.op_type() == "Mean"; }

std::optional<SampleSums> Read(const SumBounds::Lookup& lookup, const NodeInfo& node, size_t slot) {
  if (slot >= node.inputs.size() || node.inputs[slot] < 0) return std::nullopt;
  return lookup(node.inputs[slot]);
}

/// Sum and Mean add their inputs element by element.
double Together(const NodeInfo& node, const SumBounds::Lookup& lookup) {
  double total = 0.0;
  for (size_t slot = 0; slot < node.inputs.size(); ++slot) {
    if (const auto sums = Read(lookup, node, slot)) total += sums->abs_max;
  }
  return total;
}

}  // namespace

SumBounds::SumBounds(const Model& model, const GraphIndex& index, const std::vector<TensorStats>& constants)
    : index_(index) {
  for (const TensorStats& stats : constants) {
    if (const int id = index.FindTensor(stats.name); id >= 0)
      constants_[id] = {stats.abs_max, stats.abs_sum, 0};
  }
  for (size_t number = 0; number < index.nodes().size(); ++number) {
    const NodeInfo& node = index.nodes()[number];
    if (node.outputs.empty() || node.outputs[0] < 0) continue;
    if (index.tensor(node.outputs[0]).kind != TensorKind::kActivation) continue;
    const Sums kind = TraitsOf(*node.proto).sums;
    if (kind == Sums::kNone) continue;
    Sum sum;
    sum.node = static_cast<int>(number);
    sum.output = node.outputs[0];
    if (kind == Sums::kProducts && node.inputs.size() > 1 && node.inputs[1] >= 0)
      sum.weights = LargestWeightSum(model, *node.proto, index.tensor(node.inputs[1]));
    by_output_.emplace(sum.output, sums_.size());
    sums_.push_back(sum);
  }
}

void SumBounds::EndSample(const Lookup& activation) {
  const Lookup lookup = [&](int tensor) {
    const auto constant = constants_.find(tensor);
    return constant != constants_.end() ? std::optional(constant->second) : activation(tensor);
  };
  for (Sum& sum : sums_) {
    if (!activation(sum.output)) continue;  // A branch that was not taken.
    if (const auto bound = Bound(sum, lookup)) sum.bound = std::max(sum.bound.value_or(0.0), *bound);
  }
}

std::optional<double> SumBounds::Of(int tensor) const {
  const auto found = by_output_.find(tensor);
  return found == by_output_.end() ? std::nullopt : sums_[found->second].bound;
}

std::optional<double> SumBounds::Bound(const Sum& sum, const Lookup& lookup) const {
  const NodeInfo& node = index_.node(sum.node);
  const auto input = Read(lookup, node, 0);
  const auto output = lookup(sum.output);
  if (!input || !output) return std::nullopt;
  switch (TraitsOf(*node.proto).sums) {
    case Sums::kNone:
      return std::nullopt;
    case Sums::kElements:
      if (node.inputs.size() > 1 && IsVariadic(*node.proto)) return Together(node, lookup);
      return IsPool(*node.proto) ? input->abs_sum : ElementsBound(*input, *output);
    case Sums::kSquares:
      if (IntAttribute(*node.proto, "p", 2) > 2) return std::nullopt;  // Sums of higher powers.
      // Normalizations write as much as they read: no group size to gain from.
      return input->abs_max * input->abs_sum;
    case Sums::kProducts:
      return Products(sum, *input, lookup);
  }
  return std::nullopt;
}

std::optional<double> SumBounds::Products(const Sum& sum, const SampleSums& a, const Lookup& lookup) const {
  const NodeInfo& node = index_.node(sum.node);
  const auto b = Read(lookup, node, 1);
  if (!b || node.proto->op_type() == "Einsum") return std::nullopt;
  double bound = std::min(a.abs_sum * b->abs_max, b->abs_sum * a.abs_max);
  if (sum.weights) bound = std::min(bound, a.abs_max * *sum.weights);
  const auto bias = Read(lookup, node, 2);
  const auto factor = [&](const char* name) {
    const auto* attribute = FindAttribute(*node.proto, name);  // Gemm's alpha and beta.
    return attribute != nullptr && attribute->has_f() ? std::fabs(attribute->f()) : 1.0f;
  };
  return bound * factor("alpha") + (bias ? bias->abs_max * factor("beta") : 0.0);
}

}  // namespace halfsafe
