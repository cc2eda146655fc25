#include "observe/sum_bound.h"

#include <algorithm>
#include <cmath>
#include <optional>

#include "model/op_traits.h"
#include "model/walk.h"

namespace halfsafe {
namespace {

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
  const std::vector<float> values = ReadFloats(model, *weight.data);
  const size_t outputs = static_cast<size_t>(weight.shape[output_axis]);
  size_t inner = 1;
  for (size_t i = output_axis + 1; i < rank; ++i) inner *= static_cast<size_t>(weight.shape[i]);
  std::vector<double> sums(outputs, 0.0);
  for (size_t begin = 0; begin < values.size(); begin += inner) {
    double part = 0.0;
    for (size_t i = begin; i < begin + inner; ++i) part += std::fabs(values[i]);
    sums[begin / inner % outputs] += part;
  }
  return sums.empty() ? 0.0 : *std::max_element(sums.begin(), sums.end());
}

/// A reduction maps a group of inputs to each result; its size is known where the tensors' sizes don't vary.
double ElementsBound(const TensorStats& input, const TensorStats& output) {
  if (input.elements == 0 || output.elements == 0 || input.elements < output.elements) return input.abs_sum;
  const double group = static_cast<double>(input.elements) / static_cast<double>(output.elements);
  return std::min(input.abs_sum, group * input.abs_max);
}

class Bounds {
 public:
  Bounds(const Model& model, const GraphIndex& index, const RangeTable& table)
      : model_(model), index_(index), table_(table) {}

  std::optional<double> Of(const NodeInfo& node, const TensorStats& output) const {
    const TensorStats* input = Stats(node, 0);
    if (input == nullptr) return std::nullopt;
    const bool pool = node.proto->op_type().find("Pool") != std::string::npos &&
                      !node.proto->op_type().starts_with("Global");
    const double elements = pool ? input->abs_sum : ElementsBound(*input, output);
    switch (TraitsOf(*node.proto).sums) {
      case Sums::kNone:
        return std::nullopt;
      case Sums::kElements:
        return node.inputs.size() > 1 && IsVariadic(node) ? Together(node) : elements;
      case Sums::kSquares:
        if (IntAttribute(*node.proto, "p", 2) > 2) return std::nullopt;  // Sums of higher powers.
        return input->abs_max *
               input->abs_sum;  // Normalizations write as much as they read: no group size to gain from.
      case Sums::kProducts:
        return Products(node, *input);
    }
    return std::nullopt;
  }

 private:
  static bool IsVariadic(const NodeInfo& node) {
    return node.proto->op_type() == "Sum" || node.proto->op_type() == "Mean";
  }

  const TensorStats* Stats(const NodeInfo& node, size_t slot) const {
    if (slot >= node.inputs.size() || node.inputs[slot] < 0) return nullptr;
    return table_.Find(index_.tensor(node.inputs[slot]).name);
  }

  /// Sum and Mean add their inputs element by element.
  double Together(const NodeInfo& node) const {
    double total = 0.0;
    for (size_t slot = 0; slot < node.inputs.size(); ++slot) {
      if (const TensorStats* stats = Stats(node, slot)) total += stats->abs_max;
    }
    return total;
  }

  std::optional<double> Products(const NodeInfo& node, const TensorStats& a) const {
    const TensorStats* b = Stats(node, 1);
    if (b == nullptr || node.proto->op_type() == "Einsum") return std::nullopt;
    double bound = std::min(a.abs_sum * b->abs_max, b->abs_sum * a.abs_max);
    if (const auto weights = LargestWeightSum(model_, *node.proto, index_.tensor(node.inputs[1]))) {
      bound = std::min(bound, a.abs_max * *weights);
    }
    const TensorStats* bias = Stats(node, 2);
    const auto factor = [&](const char* name) {
      const auto* attribute = FindAttribute(*node.proto, name);  // Gemm's alpha and beta.
      return attribute != nullptr && attribute->has_f() ? std::fabs(attribute->f()) : 1.0f;
    };
    return bound * factor("alpha") + (bias != nullptr ? bias->abs_max * factor("beta") : 0.0);
  }

  const Model& model_;
  const GraphIndex& index_;
  const RangeTable& table_;
};

}  // namespace

void AddSumBounds(const Model& model, const GraphIndex& index, RangeTable* table) {
  const Bounds bounds(model, index, *table);
  for (TensorStats& stats : table->tensors) {
    const int id = index.FindTensor(stats.name);
    const TensorInfo& tensor = index.tensor(id);
    if (tensor.producer < 0 || tensor.kind != TensorKind::kActivation || tensor.producer_slot != 0) continue;
    stats.sum_bound = bounds.Of(index.node(tensor.producer), stats);
  }
}

}  // namespace halfsafe
