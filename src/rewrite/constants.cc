#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <set>
#include <span>
#include <unordered_map>

#include "base/half_convert.h"
#include "halfsafe/error.h"
#include "halfsafe/half.h"
#include "model/walk.h"
#include "rewrite/rewriter.h"

namespace halfsafe {
namespace {

/// The 16 bits of FP32 values, into `bits`. A finite value never becomes infinite: it stops at the type's
/// largest.
void Encode(std::span<const float> values, DType dtype, uint16_t* bits) {
  if (dtype == DType::kBfloat16) {
    for (size_t i = 0; i < values.size(); ++i) {
      const float rounded = RoundToBfloat16(values[i]);
      bits[i] = Bfloat16Bits(
          std::isinf(rounded) && std::isfinite(values[i]) ? std::copysign(0x1.FEp127f, values[i]) : rounded);
    }
    return;
  }
  FloatsToHalf(values.data(), values.size(), bits);
  constexpr uint16_t kInfinity = 0x7C00, kLargest = 0x7BFF, kMagnitude = 0x7FFF;
  for (size_t i = 0; i < values.size(); ++i) {
    if ((bits[i] & kMagnitude) == kInfinity && std::isfinite(values[i]))
      bits[i] = static_cast<uint16_t>((bits[i] & ~kMagnitude) | kLargest);
  }
}

void SetTensor(std::span<const float> values, DType dtype, onnx::TensorProto* tensor) {
  tensor->clear_float_data();
  tensor->clear_external_data();
  tensor->clear_data_location();
  tensor->set_data_type(static_cast<int>(dtype));
  std::string* raw = tensor->mutable_raw_data();
  raw->resize(values.size() * DTypeSize(dtype));
  if (dtype == DType::kFloat) {
    std::memcpy(raw->data(), values.data(), raw->size());
  } else {
    Encode(values, dtype,
           reinterpret_cast<uint16_t*>(raw->data()));  // A string's buffer is aligned for any scalar.
  }
}

/// A constant of the model being rewritten, wherever it stands.
class Constant {
 public:
  Constant(Rewriter* rewriter, int tensor) : rewriter_(rewriter), info_(rewriter->index.tensor(tensor)) {
    if (info_.producer >= 0) {
      ReadNode();
      return;
    }
    proto_ = rewriter->copies.at(info_.data);
    ReadValues();
  }

  void Clamp(double limit) {
    const float bound = static_cast<float>(limit);
    for (float& value : Own()) value = std::isfinite(value) ? std::clamp(value, -bound, bound) : value;
  }

  void Scale(int shift) {
    for (float& value : Own()) value = std::ldexp(value, shift);
  }

  void Become(DType dtype) { SetTensor(values_, dtype, proto_); }

  /// Adds the same constant in another type, and returns its name.
  std::string Add(DType dtype) {
    const std::string name = rewriter_->NewName(info_.local, dtype);
    onnx::TensorProto copy;
    *copy.mutable_dims() = proto_->dims();
    SetTensor(values_, dtype, &copy);
    if (info_.producer < 0) {
      copy.set_name(name);
      // Before IR version 4 every initializer has to be listed among the inputs.
      if (rewriter_->proto.ir_version() < 4) AddInput(copy);
      graph()->add_initializer()->Swap(&copy);
      return name;
    }
    onnx::NodeProto& node = rewriter_->behind_node[static_cast<size_t>(info_.producer)].emplace_back();
    node.set_op_type("Constant");
    node.set_name(name);
    node.add_output(name);
    auto* attribute = node.add_attribute();
    attribute->set_name("value");
    attribute->set_type(onnx::AttributeProto::TENSOR);
    attribute->mutable_t()->Swap(&copy);
    return name;
  }

 private:
  void AddInput(const onnx::TensorProto& tensor) {
    auto* input = graph()->add_input();
    input->set_name(tensor.name());
    auto* type = input->mutable_type()->mutable_tensor_type();
    type->set_elem_type(tensor.data_type());
    for (const int64_t dim : tensor.dims()) type->mutable_shape()->add_dim()->set_dim_value(dim);
  }

  onnx::GraphProto* graph() { return rewriter_->graphs[static_cast<size_t>(info_.graph)]; }

  void ReadValues() {
    const auto raw = rewriter_->model.RawBytes(*info_.data);
    const bool aligned = reinterpret_cast<uintptr_t>(raw.data()) % alignof(float) == 0;
    if (!raw.empty() && aligned && raw.size() == TensorByteSize(*info_.data)) {
      values_ = {reinterpret_cast<const float*>(raw.data()), raw.size() / sizeof(float)};
    } else {
      own_ = ReadFloats(rewriter_->model, *info_.data);
      values_ = own_;
    }
  }

  /// The values, free to change.
  std::vector<float>& Own() {
    if (own_.empty()) own_.assign(values_.begin(), values_.end());
    values_ = own_;
    return own_;
  }

  /// A Constant node states its value as a tensor, a float or a list of floats; all become a tensor.
  void ReadNode() {
    onnx::NodeProto* node = rewriter_->nodes[static_cast<size_t>(info_.producer)];
    if (info_.data != nullptr) {
      ReadValues();
      proto_ = rewriter_->copies.at(info_.data);
    } else {
      onnx::AttributeProto* attribute = node->mutable_attribute(0);
      if (attribute->name() == "value_float") own_ = {attribute->f()};
      if (attribute->name() == "value_floats") {
        own_.assign(attribute->floats().begin(), attribute->floats().end());
        attribute->mutable_t()->add_dims(static_cast<int64_t>(own_.size()));
      }
      values_ = own_;
      attribute->set_name("value");
      attribute->set_type(onnx::AttributeProto::TENSOR);
      attribute->clear_f();
      attribute->clear_floats();
      proto_ = attribute->mutable_t();
    }
  }

  Rewriter* rewriter_;
  const TensorInfo& info_;
  onnx::TensorProto* proto_ = nullptr;
  std::span<const float> values_;  ///< The model's own memory where it can be read as floats, else `own_`.
  std::vector<float> own_;
};

/// Float constants that can be read as values: dense tensors, and Constant nodes with plain floats.
bool Convertible(const Rewriter& rewriter, const TensorInfo& tensor) {
  if (tensor.data != nullptr || tensor.producer < 0) return tensor.data != nullptr;
  const onnx::NodeProto& node = *rewriter.index.node(tensor.producer).proto;
  return FindAttribute(node, "value_float") != nullptr || FindAttribute(node, "value_floats") != nullptr;
}

}  // namespace

void ConvertConstants(Rewriter* rewriter) {
  std::unordered_map<std::string, double> clamps;
  for (const ConstantPlan& plan : rewriter->plan.constants) {
    const int tensor = rewriter->index.FindTensor(plan.name);
    if (tensor < 0 || rewriter->index.tensor(tensor).kind != TensorKind::kConstant) {
      throw BadInput(fmt::format("the plan names constant {}, which the model doesn't have", plan.name));
    }
    clamps[plan.name] = plan.clamp;
  }
  for (size_t id = 0; id < rewriter->index.tensors().size(); ++id) {
    const TensorInfo& tensor = rewriter->index.tensors()[id];
    const int number = static_cast<int>(id);
    const TensorPorts& ports = rewriter->ports.of(number);
    if (tensor.kind != TensorKind::kConstant || ports.writer == kNoFloat || !Convertible(*rewriter, tensor))
      continue;
    std::set<DType> wanted;
    for (size_t reader = 0; reader < ports.readers.size(); ++reader)
      wanted.insert(rewriter->WantedBy(number, reader));
    const auto clamp = clamps.find(tensor.name);
    const bool main_output = tensor.graph == 0 && tensor.graph_output;
    const int shift = rewriter->shift[id];
    if (clamp == clamps.end() && shift == 0 && (wanted.empty() || wanted == std::set{DType::kFloat})) {
      rewriter->names[id][DType::kFloat] = tensor.local;
      if (tensor.data != nullptr) *rewriter->copies.at(tensor.data) = *tensor.data;
      continue;
    }
    Constant constant(rewriter, number);
    if (shift != 0) constant.Scale(shift);
    if (clamp != clamps.end()) constant.Clamp(clamp->second);
    // The first type takes over the name; an output of the model keeps it for the output's type.
    const DType first =
        wanted.empty() || wanted.contains(DType::kFloat) || main_output ? DType::kFloat : *wanted.begin();
    for (const DType dtype : wanted) {
      if (dtype != first) rewriter->names[id][dtype] = constant.Add(dtype);
    }
    constant.Become(first);
    rewriter->names[id][first] = tensor.local;
    rewriter->stored[id] = first;
  }
}

}  // namespace halfsafe
