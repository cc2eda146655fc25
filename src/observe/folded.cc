#include "observe/folded.h"

#include <algorithm>
#include <cmath>
#include <optional>

#include "halfsafe/half.h"
#include "model/walk.h"

namespace halfsafe {
namespace {

/// A layer as its builder sees it while folding.
struct Affine {
  std::vector<double> factor;  ///< Per output channel.
  std::vector<double> bias;
};

class Folder {
 public:
  Folder(const Model& model, const GraphIndex& index) : model_(model), index_(index) {}

  std::optional<FoldedWeights> Fold(int id) const {
    const NodeInfo& node = index_.node(id);
    const std::string& op = node.proto->op_type();
    if ((op != "Conv" && op != "ConvTranspose" && op != "Gemm") || !node.proto->domain().empty())
      return std::nullopt;
    const TensorInfo* weight = Constant(node, 1);
    if (weight == nullptr || weight->shape.size() < 2 || TensorElementCount(*weight->data) == 0)
      return std::nullopt;
    const size_t axis = op == "Conv"                                  ? 0
                        : op == "ConvTranspose"                       ? 1
                        : IntAttribute(*node.proto, "transB", 0) != 0 ? 0
                                                                      : 1;
    // A grouped ConvTranspose has its outputs spread over two axes; builders fold it all the same, this judge
    // does not.
    if (op == "ConvTranspose" && IntAttribute(*node.proto, "group", 1) != 1) return std::nullopt;
    const size_t channels = static_cast<size_t>(weight->shape[axis]);
    Affine layer{std::vector<double>(channels, 1.0), std::vector<double>(channels, 0.0)};
    if (const auto bias = Values(node, 2, channels)) layer.bias.assign(bias->begin(), bias->end());

    FoldedWeights folded;
    folded.nodes = {id};
    for (int next = OnlyReader(id); next >= 0 && Apply(index_.node(next), folded.nodes.back(), &layer);
         next = OnlyReader(next)) {
      folded.nodes.push_back(next);
    }
    while (index_.node(folded.nodes.back()).proto->op_type() == "Identity") folded.nodes.pop_back();
    if (folded.nodes.size() < 2) return std::nullopt;
    Measure(*weight, axis, layer, &folded);
    return folded;
  }

 private:
  const TensorInfo* Constant(const NodeInfo& node, size_t slot) const {
    if (slot >= node.inputs.size() || node.inputs[slot] < 0) return nullptr;
    const TensorInfo& tensor = index_.tensor(node.inputs[slot]);
    return tensor.data != nullptr && tensor.dtype == DType::kFloat ? &tensor : nullptr;
  }

  /// A constant operand with one value per channel, or one for all.
  std::optional<std::vector<float>> Values(const NodeInfo& node, size_t slot, size_t channels) const {
    const TensorInfo* tensor = Constant(node, slot);
    if (tensor == nullptr) return std::nullopt;
    std::vector<float> values = ReadFloats(model_, *tensor->data);
    if (values.size() == 1) values.assign(channels, values[0]);
    if (values.size() != channels) return std::nullopt;
    return values;
  }

  int OnlyReader(int id) const {
    const NodeInfo& node = index_.node(id);
    if (node.outputs.empty() || node.outputs[0] < 0) return -1;
    const TensorInfo& output = index_.tensor(node.outputs[0]);
    return output.uses.size() == 1 && !output.graph_output ? output.uses[0].node : -1;
  }

  bool Apply(const NodeInfo& node, int previous, Affine* layer) const {
    const size_t channels = layer->factor.size();
    const std::string& op = node.proto->op_type();
    if (op == "Identity") return true;  // Builders take it out first.
    if (op == "BatchNormalization") return ApplyBatchNormalization(node, layer);
    if (op != "Mul" && op != "Add") return false;
    const size_t constant_slot = node.inputs[0] == index_.node(previous).outputs[0] ? 1 : 0;
    const auto values = Values(node, constant_slot, channels);
    if (!values) return false;
    for (size_t c = 0; c < channels; ++c) {
      if (op == "Mul") layer->factor[c] *= (*values)[c];
      layer->bias[c] = op == "Mul" ? layer->bias[c] * (*values)[c] : layer->bias[c] + (*values)[c];
    }
    return true;
  }

  bool ApplyBatchNormalization(const NodeInfo& node, Affine* layer) const {
    const size_t channels = layer->factor.size();
    const auto scale = Values(node, 1, channels), shift = Values(node, 2, channels);
    const auto mean = Values(node, 3, channels), variance = Values(node, 4, channels);
    if (!scale || !shift || !mean || !variance) return false;
    const auto* epsilon = FindAttribute(*node.proto, "epsilon");
    for (size_t c = 0; c < channels; ++c) {
      const double factor =
          (*scale)[c] / std::sqrt((*variance)[c] + (epsilon != nullptr ? epsilon->f() : 1e-5f));
      layer->factor[c] *= factor;
      layer->bias[c] = factor * (layer->bias[c] - (*mean)[c]) + (*shift)[c];
    }
    return true;
  }

  void Measure(const TensorInfo& weight, size_t axis, const Affine& layer, FoldedWeights* folded) const {
    const FloatView view = ViewFloats(model_, *weight.data);
    const std::span<const float> values = view.values;
    size_t inner = 1;
    for (size_t i = axis + 1; i < weight.shape.size(); ++i) inner *= static_cast<size_t>(weight.shape[i]);
    for (size_t i = 0; i < values.size(); ++i) {
      const double value = std::fabs(values[i] * layer.factor[i / inner % layer.factor.size()]);
      folded->weight_max = std::max(folded->weight_max, value);
      folded->subnormal_count += value > 0.0 && value < kHalfRoundsToNormal ? 1 : 0;
    }
    folded->count = values.size();
    for (const double bias : layer.bias) folded->bias_max = std::max(folded->bias_max, std::fabs(bias));
  }

  const Model& model_;
  const GraphIndex& index_;
};

}  // namespace

std::vector<FoldedWeights> FoldWeights(const Model& model, const GraphIndex& index) {
  const Folder folder(model, index);
  std::vector<FoldedWeights> all;
  for (size_t id = 0; id < index.nodes().size(); ++id) {
    if (auto folded = folder.Fold(static_cast<int>(id))) all.push_back(std::move(*folded));
  }
  return all;
}

}  // namespace halfsafe
