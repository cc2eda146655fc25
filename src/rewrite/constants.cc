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

}  // namespace

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

void AddInitializerInput(const onnx::TensorProto& tensor, onnx::GraphProto* graph) {
  auto* input = graph->add_input();
  input->set_name(tensor.name());
  auto* type = input->mutable_type()->mutable_tensor_type();
  type->set_elem_type(tensor.data_type());
  type->mutable_shape();
  for (const int64_t dim : tensor.dims()) type->mutable_shape()->add_dim()->set_dim_value(dim);
}

namespace {

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

  void KeepNonzero() { keep_nonzero_ = true; }

  void Become(const Form& form) {
    const std::vector<float> changed = InForm(form);
    SetTensor(changed.empty() ? values_ : changed, form.dtype, proto_);
  }

  /// Adds the same constant in another form, and returns its name.
  std::string Add(const Form& form) {
    const std::string name = rewriter_->NewName(info_.local, form);
    onnx::TensorProto copy;
    *copy.mutable_dims() = proto_->dims();
    const std::vector<float> changed = InForm(form);
    SetTensor(changed.empty() ? values_ : changed, form.dtype, &copy);
    if (info_.producer < 0) {
      copy.set_name(name);
      // Before IR version 4 every initializer has to be listed among the inputs.
      if (rewriter_->proto.ir_version() < 4) AddInitializerInput(copy, graph());
      graph()->add_initializer()->Swap(&copy);
      return name;
    }
    auto* attribute = rewriter_->InsertBehind(info_, "Constant", name, name).add_attribute();
    attribute->set_name("value");
    attribute->set_type(onnx::AttributeProto::TENSOR);
    attribute->mutable_t()->Swap(&copy);
    return name;
  }

 private:
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

  /// The values as a form has them, before they are rounded; empty where nothing changes.
  std::vector<float> InForm(const Form& form) const {
    const bool guards = keep_nonzero_ && form.dtype == DType::kFloat16;
    if (form.exponent == 0 && !guards) return {};
    std::vector<float> values(values_.begin(), values_.end());
    // Exact in double, so rounded once.
    const double factor = std::ldexp(1.0, -form.exponent);
    for (float& value : values) value = static_cast<float>(value * factor);
    for (float& value : values) {
      if (guards && value != 0.0f) value = std::copysign(std::max(std::fabs(value), 0x1p-24f), value);
    }
    return values;
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
  bool keep_nonzero_ = false;  ///< See ConstantPlan.
};

}  // namespace

void ConvertConstants(Rewriter* rewriter) {
  std::unordered_map<std::string, const ConstantPlan*> plans;
  for (const ConstantPlan& plan : rewriter->plan.constants) {
    const int tensor = rewriter->index.FindTensor(plan.name);
    if (tensor < 0 || rewriter->index.tensor(tensor).kind != TensorKind::kConstant) {
      throw BadInput(fmt::format("the plan names constant {}, which the model doesn't have", plan.name));
    }
    plans[plan.name] = &plan;
  }
  for (size_t id = 0; id < rewriter->index.tensors().size(); ++id) {
    const TensorInfo& tensor = rewriter->index.tensors()[id];
    const int number = static_cast<int>(id);
    const TensorPorts& ports = rewriter->ports.of(number);
    if (tensor.kind != TensorKind::kConstant || ports.writer == kNoFloat ||
        !IsScalableConstant(rewriter->index, number))
      continue;
    std::set<Form> wanted;
    for (size_t reader = 0; reader < ports.readers.size(); ++reader)
      wanted.insert(rewriter->WantedBy(number, reader));
    const auto found = plans.find(tensor.name);
    const ConstantPlan* plan = found == plans.end() ? nullptr : found->second;
    const bool main_output = tensor.graph == 0 && tensor.graph_output;
    if (plan == nullptr && (wanted.empty() || wanted == std::set{Form{}})) {
      rewriter->names[id][Form{}] = tensor.local;
      if (tensor.data != nullptr) *rewriter->copies.at(tensor.data) = *tensor.data;
      continue;
    }
    Constant constant(rewriter, number);
    if (plan != nullptr && plan->clamp) constant.Clamp(*plan->clamp);
    if (plan != nullptr && plan->keep_nonzero) constant.KeepNonzero();
    // The first form takes over the name, FP32 before others; an output of the model keeps it for the output.
    const Form first = wanted.empty() || main_output ? Form{} : *wanted.begin();
    for (const Form& form : wanted) {
      if (form != first) rewriter->names[id][form] = constant.Add(form);
    }
    constant.Become(first);
    rewriter->names[id][first] = tensor.local;
    rewriter->stored[id] = first.dtype;
  }
}

}  // namespace halfsafe
