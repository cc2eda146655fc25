#include "plan/work.h"

#include <algorithm>
#include <cmath>
#include <unordered_map>

#include "model/op_traits.h"
#include "model/walk.h"

namespace halfsafe {
namespace {

/// What a node multiplies, by the sizes of its tensors in one sample. Every count is nothing where a size
/// that it takes is not known.
class ProductCounter {
 public:
  ProductCounter(const GraphIndex& index, const RangeTable& ranges, const NodeInfo& node)
      : index_(index), ranges_(ranges), node_(node), traits_(TraitsOf(*node.proto)) {}

  std::optional<double> Count() const {
    switch (traits_.products) {
      case Products::kNone:
        return 0.0;
      case Products::kConv:
        return Times(Elements(Output(0)), FilterSize());
      case Products::kConvTranspose:
        return Times(Elements(Input(0)), FilterSize());
      case Products::kMatMul:
        return Times(Elements(Output(0)), Inner());
      case Products::kGemm: {
        const bool columns = IntAttribute(*node_.proto, "transB", 0) != 0;
        return Times(Elements(Output(0)), Axis(Input(traits_.weights), columns ? 1 : 2));
      }
      case Products::kColumns:
        return Times(Elements(Output(0)), static_cast<double>(IntAttribute(*node_.proto, "K", 0)));
      case Products::kEinsum:
        return Times(Elements(Output(0)), SummedLetters());
      case Products::kRecurrent:
        return Recurrent();
      case Products::kAttention:
        return Attention();
      case Products::kTransform: {
        const auto results = Elements(Output(0));
        return results ? std::optional(*results * std::log2(std::max(2.0, *results))) : std::nullopt;
      }
      case Products::kUncounted:
        break;
    }
    return std::nullopt;
  }

 private:
  using Size = std::optional<double>;

  static Size Times(Size a, Size b) { return a && b ? Size(*a * *b) : std::nullopt; }

  int Input(int slot) const {
    return slot < static_cast<int>(node_.inputs.size()) ? node_.inputs[static_cast<size_t>(slot)] : -1;
  }
  int Output(int slot) const {
    return slot < static_cast<int>(node_.outputs.size()) ? node_.outputs[static_cast<size_t>(slot)] : -1;
  }

  /// As the scan counted them, or else as the shape says. Axes of a batch that is free count once.
  Size Elements(int tensor) const {
    if (tensor < 0) return std::nullopt;
    const TensorInfo& info = index_.tensor(tensor);
    if (ranges_.Find(info.name) != nullptr) return ElementsPerSample(index_, ranges_, tensor);
    if (!info.has_rank) return std::nullopt;
    double elements = 1.0;
    for (size_t axis = 0; axis < info.shape.size(); ++axis) {
      if (info.shape[axis] < 0 && axis > 0) return std::nullopt;
      elements *= static_cast<double>(std::max<int64_t>(1, info.shape[axis]));
    }
    return elements;
  }

  /// The size of an axis, counted from the last one, which is 1.
  Size Axis(int tensor, size_t from_end) const {
    if (tensor < 0) return std::nullopt;
    const std::vector<int64_t>& shape = index_.tensor(tensor).shape;
    if (shape.empty()) return std::nullopt;
    const int64_t size = shape[shape.size() - std::min(from_end, shape.size())];
    if (size < 0) return std::nullopt;
    return static_cast<double>(size);
  }

  /// The axis that two matrices share. Where its size is free it follows from how many elements both have and
  /// their product has: (B M K) (B K N) / (B M N) = B K^2.
  Size Inner() const {
    const int weights = Input(traits_.weights);
    const auto is_set = [&](const char* name) { return IntAttribute(*node_.proto, name, 0) != 0; };
    if (const Size rows = Axis(weights, is_set("transB") ? 1 : 2)) return rows;
    if (const Size columns = Axis(Input(0), is_set("transA") ? 2 : 1)) return columns;
    const Size a = Elements(Input(0)), b = Elements(weights), product = Elements(Output(0));
    if (!a || !b || !product || *product == 0.0) return std::nullopt;
    const std::vector<int64_t>& shape = index_.tensor(weights).shape;
    double batch = 1.0;
    for (size_t axis = 0; axis + 2 < shape.size(); ++axis)
      batch *= static_cast<double>(std::max<int64_t>(1, shape[axis]));
    return std::sqrt(*a * *b / *product / batch);
  }

  /// Weights of one filter: Conv has M x C/group x kernel, ConvTranspose C x M/group x kernel.
  Size FilterSize() const {
    const int weights = Input(traits_.weights);
    if (weights < 0 || index_.tensor(weights).shape.empty()) return std::nullopt;
    const std::vector<int64_t>& shape = index_.tensor(weights).shape;
    double size = 1.0;
    for (size_t axis = 1; axis < shape.size(); ++axis) {
      if (shape[axis] < 0) return std::nullopt;
      size *= static_cast<double>(shape[axis]);
    }
    return size;
  }

  /// The product of the sizes of all letters that stand in front of the arrow and not behind it.
  Size SummedLetters() const {
    const auto* attribute = FindAttribute(*node_.proto, "equation");
    std::string equation = attribute == nullptr ? "" : attribute->s();
    std::erase(equation, ' ');
    const size_t arrow = equation.find("->");
    if (arrow == std::string::npos || equation.find('.') != std::string::npos) return std::nullopt;
    std::unordered_map<char, double> sizes;
    int slot = 0;
    size_t axis = 0;
    for (const char letter : equation.substr(0, arrow)) {
      if (letter == ',') {
        ++slot;
        axis = 0;
        continue;
      }
      const int tensor = Input(slot);
      const auto* shape = tensor < 0 ? nullptr : &index_.tensor(tensor).shape;
      const int64_t size = shape != nullptr && axis < shape->size() ? (*shape)[axis] : -1;
      ++axis;
      if (equation.find(letter, arrow) != std::string::npos) continue;
      double& known = sizes[letter];
      known = std::max(known, size < 0 ? 0.0 : static_cast<double>(size));
    }
    double product = 1.0;
    for (const auto& [letter, size] : sizes) {
      if (size == 0.0) return std::nullopt;
      product *= size;
    }
    return product;
  }

  Size Recurrent() const {
    const Size read = Elements(Input(0)), width = Axis(Input(0), 1);
    const Size first = Elements(Input(1)), second = Elements(Input(2));
    if (!read || !first || !second) return std::nullopt;
    const Size columns = width ? width : Axis(Input(1), 1);
    if (!columns || *columns == 0.0) return std::nullopt;
    return *read / *columns * (*first + *second);
  }

  Size Attention() const {
    const Size query = Elements(Input(0)), result = Elements(Output(0));
    Size keys = Positions(Input(1));
    // With a cache the keys are those that are handed on.
    if (const Size present = Positions(Output(1)); present) keys = std::max(keys.value_or(0.0), *present);
    if (!query || !result || !keys) return std::nullopt;
    return (*query + *result) * *keys;
  }

  /// How many positions keys of batch x positions x size, or of batch x heads x positions x size, have.
  Size Positions(int tensor) const {
    if (tensor < 0) return std::nullopt;
    const std::vector<int64_t>& shape = index_.tensor(tensor).shape;
    if (shape.size() != 3 && shape.size() != 4) return std::nullopt;
    const size_t axis = shape.size() - 2;
    if (shape[axis] >= 0) return static_cast<double>(shape[axis]);
    const Size elements = Elements(tensor);
    if (!elements) return std::nullopt;
    double others = 1.0;
    for (size_t other = 0; other < shape.size(); ++other) {
      if (other == axis) continue;
      if (shape[other] < 0 && other > 0) return std::nullopt;
      others *= static_cast<double>(std::max<int64_t>(1, shape[other]));
    }
    return *elements / others;
  }

  const GraphIndex& index_;
  const RangeTable& ranges_;
  const NodeInfo& node_;
  const OpTraits& traits_;
};

/// Whether products are of 8-bit integers. Packed weights are integers too, and are widened first.
bool MultipliesIntegers(const GraphIndex& index, const NodeInfo& node) {
  const OpTraits& traits = TraitsOf(*node.proto);
  const auto weights = static_cast<size_t>(traits.weights);
  if (traits.products == Products::kNone || traits.products == Products::kColumns ||
      weights >= node.inputs.size() || node.inputs[weights] < 0)
    return false;
  const DType dtype = index.tensor(node.inputs[weights]).dtype;
  return dtype == DType::kInt8 || dtype == DType::kUint8;
}

/// Whether a node that no plan names computes in 16 bits, because its model was written so.
bool IsInHalf(const GraphIndex& index, const NodeInfo& node) {
  return std::ranges::any_of(
      node.inputs, [&](int tensor) { return tensor >= 0 && IsSixteenBit(index.tensor(tensor).dtype); });
}

/// An operator of a domain that halfsafe knows nothing of may multiply anything.
bool IsUnknown(const onnx::NodeProto& node) {
  return !IsStandard(node.domain()) && node.domain() != "ai.onnx.ml" &&
         !node.domain().starts_with("com.microsoft");
}

}  // namespace

double ElementsPerSample(const GraphIndex& index, const RangeTable& ranges, int tensor) {
  const TensorStats* stats = ranges.Find(index.tensor(tensor).name);
  if (stats == nullptr) return 1024.0;
  const double elements = static_cast<double>(stats->count + stats->nan_count + stats->inf_count);
  return stats->constant || ranges.samples == 0 ? elements : elements / static_cast<double>(ranges.samples);
}

double MultiplyAdds(const GraphIndex& index, const RangeTable& ranges, const NodeInfo& node) {
  return ProductCounter(index, ranges, node).Count().value_or(0.0);
}

WorkShare ShareInHalf(const Model& model, const RangeTable& ranges, const Plan& plan) {
  const GraphIndex& index = model.index();
  std::unordered_map<std::string, bool> planned;
  for (const NodePlan& node : plan.nodes) planned[node.name] = node.precision != Precision::kFp32;
  struct Sum {
    double all = 0.0, half = 0.0;
    void Add(double work, bool in_half) {
      all += work;
      half += in_half ? work : 0.0;
    }
  } products, bytes;
  WorkShare share;
  for (const NodeInfo& node : index.nodes()) {
    const auto found = planned.find(node.name);
    const bool in_half = found != planned.end() ? found->second : IsInHalf(index, node);
    const bool integers = MultipliesIntegers(index, node);
    share.integers = share.integers || integers;
    const std::optional<double> work = ProductCounter(index, ranges, node).Count();
    if (work) products.Add(*work, in_half || integers);
    const std::string& op = node.proto->op_type();
    if ((!work || IsUnknown(*node.proto)) && std::ranges::find(share.uncounted, op) == share.uncounted.end())
      share.uncounted.push_back(op);
    for (const auto* tensors : {&node.inputs, &node.outputs}) {
      for (const int tensor : *tensors) {
        if (tensor >= 0 && IsFloat(index.tensor(tensor).dtype))
          bytes.Add(ElementsPerSample(index, ranges, tensor), in_half);
      }
    }
  }
  share.products = products.all > 0.0;
  const Sum& sum = share.products ? products : bytes;
  share.share = sum.all > 0.0 ? sum.half / sum.all : 0.0;
  return share;
}

}  // namespace halfsafe
