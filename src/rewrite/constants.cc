#include <fmt/format.h>

#include <set>
#include <span>
#include <unordered_map>

#include "halfsafe/error.h"
#include "halfsafe/rewrite.h"
#include "model/external_data.h"
#include "model/walk.h"
#include "rewrite/rewriter.h"

namespace halfsafe {
void SetTensor(std::span<const float> values, const WeightConversion& conversion, onnx::TensorProto* tensor) {
  tensor->clear_float_data();
  tensor->clear_external_data();
  tensor->clear_data_location();
  tensor->set_data_type(static_cast<int>(conversion.dtype));
  std::string* raw = tensor->mutable_raw_data();
  raw->resize(values.size() * DTypeSize(conversion.dtype));
  ConvertWeight(std::as_bytes(values), conversion, reinterpret_cast<std::byte*>(raw->data()));
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
  Constant(Rewriter* rewriter, int tensor, const ConstantPlan* plan)
      : rewriter_(rewriter), info_(rewriter->index.tensor(tensor)), plan_(plan) {
    if (info_.data != nullptr) {
      proto_ = rewriter->copies.at(info_.data);
    } else {
      ReadAttribute();
    }
  }

  void Become(const Form& form) { Write(form, proto_); }

  /// Adds the same constant in another form, and returns its name.
  std::string Add(const Form& form) {
    const std::string name = rewriter_->NewName(info_.local, form);
    onnx::TensorProto copy;
    *copy.mutable_dims() = proto_->dims();
    Write(form, &copy);
    if (info_.producer < 0) {
      copy.set_name(name);
      // Before IR version 4 every initializer has to be listed among the inputs.
      if (rewriter_->proto.ir_version() < 4) AddInitializerInput(copy, graph());
      graph()->add_initializer()->Swap(&copy);
      return name;
    }
    onnx::NodeProto& node = rewriter_->InsertBehind(info_, "Constant", name, name);
    const std::string times = form.exponent == 0 ? "" : fmt::format(" times 2^{}", -form.exponent);
    NodeFindings findings;
    findings.inserted =
        fmt::format("{}{} in {}, as its readers here take it", info_.name, times, DTypeName(form.dtype));
    SetFindings(findings, &node);
    auto* attribute = node.add_attribute();
    attribute->set_name("value");
    attribute->set_type(onnx::AttributeProto::TENSOR);
    attribute->mutable_t()->Swap(&copy);
    return name;
  }

 private:
  onnx::GraphProto* graph() { return rewriter_->graphs[static_cast<size_t>(info_.graph)]; }

  WeightConversion ConversionTo(const Form& form) const {
    WeightConversion conversion{form.dtype, form.exponent};
    if (plan_ == nullptr) return conversion;
    conversion.clamp = plan_->clamp;
    conversion.keep_nonzero = plan_->keep_nonzero;
    return conversion;
  }

  /// Large weights stay in their file, to be converted when they are read: with `conversion` written down, a
  /// model that memory holds once can be rewritten.
  void Write(const Form& form, onnx::TensorProto* to) const {
    const WeightConversion conversion = ConversionTo(form);
    if (info_.data == nullptr) return SetTensor(attribute_values_, conversion, to);
    ExternalReference reference = ReadReference(*info_.data);
    const bool only_widened = !reference.conversion || *reference.conversion == WideningOf(reference);
    const bool late = IsExternal(*info_.data) && info_.data->data_type() == onnx::TensorProto::FLOAT &&
                      only_widened && TensorByteSize(*info_.data) > kSmallTensor;
    if (!late) return SetTensor(ViewFloats(rewriter_->model, *info_.data).values, conversion, to);
    const DType in_file = reference.conversion ? reference.conversion->from : DType::kFloat;
    reference.conversion = conversion;
    reference.conversion->from = in_file;
    WriteReference(reference, to);
  }

  /// What only widens the values that the file has.
  static WeightConversion WideningOf(const ExternalReference& reference) {
    WeightConversion widening;
    widening.from = reference.conversion->from;
    return widening;
  }

  /// A Constant node may state its value as a float or a list of floats; they become a tensor.
  void ReadAttribute() {
    onnx::NodeProto* node = rewriter_->nodes[static_cast<size_t>(info_.producer)];
    onnx::AttributeProto* attribute = node->mutable_attribute(0);
    if (attribute->name() == "value_float") attribute_values_ = {attribute->f()};
    if (attribute->name() == "value_floats") {
      attribute_values_.assign(attribute->floats().begin(), attribute->floats().end());
      attribute->mutable_t()->add_dims(static_cast<int64_t>(attribute_values_.size()));
    }
    attribute->set_name("value");
    attribute->set_type(onnx::AttributeProto::TENSOR);
    attribute->clear_f();
    attribute->clear_floats();
    proto_ = attribute->mutable_t();
  }

  Rewriter* rewriter_;
  const TensorInfo& info_;
  const ConstantPlan* plan_;
  onnx::TensorProto* proto_ = nullptr;
  std::vector<float> attribute_values_;  ///< Of a constant that isn't stated as a tensor.
};

/// Whether a plan may change the values of a tensor where they come from: a constant, what a ConstantOfShape
/// fills, or an input.
bool MayChange(const GraphIndex& index, int tensor) {
  const TensorInfo& info = index.tensor(tensor);
  return info.kind == TensorKind::kConstant || info.kind == TensorKind::kInput ||
         (info.producer >= 0 && index.node(info.producer).proto->op_type() == "ConstantOfShape");
}

}  // namespace

void ConvertConstants(Rewriter* rewriter) {
  std::unordered_map<std::string, const ConstantPlan*> plans;
  for (const ConstantPlan& plan : rewriter->plan.constants) {
    const int tensor = rewriter->index.FindTensor(plan.name);
    if (tensor < 0 || !MayChange(rewriter->index, tensor))
      throw NotInModel("constant", plan.name, rewriter->index);
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
    Constant constant(rewriter, number, plan);
    // The first form takes over the name, FP32 before others; an output of the model keeps it for the output.
    const auto planned = rewriter->io.find(number);
    const Form output{planned != rewriter->io.end() ? planned->second : DType::kFloat};
    const Form first = main_output ? output : wanted.empty() ? Form{} : *wanted.begin();
    for (const Form& form : wanted) {
      if (form != first) rewriter->names[id][form] = constant.Add(form);
    }
    constant.Become(first);
    rewriter->names[id][first] = tensor.local;
    rewriter->stored[id] = first.dtype;
  }
}

}  // namespace halfsafe
