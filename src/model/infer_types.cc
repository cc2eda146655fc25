#include "model/infer_types.h"

#include <onnx/defs/schema.h>

#include <algorithm>
#include <memory>
#include <mutex>
#include <unordered_map>
#include <utility>

#include "model/runtime_schemas.h"

namespace halfsafe {
namespace {

/// Dimensions of a tensor: numpy has no more, and models have a tenth.
constexpr int kMostDimensions = 64;
/// Numbers in a tensor whose values inference follows, such as a shape.
constexpr int kMostValues = 1024;
/// Characters that stand for a free dimension.
constexpr size_t kLongestName = 256;
/// Sequences of sequences and the like.
constexpr int kDeepestType = 4;

bool IsSmall(const onnx::TensorShapeProto& shape) { return shape.dim_size() <= kMostDimensions; }

void BoundShape(onnx::TensorShapeProto* shape) {
  for (auto& dim : *shape->mutable_dim()) {
    if (dim.dim_param().size() > kLongestName) dim.clear_dim_param();
  }
}

template <typename Tensor>
void BoundTensor(Tensor* tensor) {
  if (!tensor->has_shape()) return;
  if (IsSmall(tensor->shape())) {
    BoundShape(tensor->mutable_shape());
  } else {
    tensor->clear_shape();
  }
}

/// Takes out of a type what is too large to be handed on.
void BoundType(onnx::TypeProto* type, int depth = 0) {
  if (depth == kDeepestType) {
    type->Clear();
  } else if (type->has_tensor_type()) {
    BoundTensor(type->mutable_tensor_type());
  } else if (type->has_sparse_tensor_type()) {
    BoundTensor(type->mutable_sparse_tensor_type());
  } else if (type->has_sequence_type()) {
    BoundType(type->mutable_sequence_type()->mutable_elem_type(), depth + 1);
  } else if (type->has_optional_type()) {
    BoundType(type->mutable_optional_type()->mutable_elem_type(), depth + 1);
  } else if (type->has_map_type()) {
    BoundType(type->mutable_map_type()->mutable_value_type(), depth + 1);
  }
}

/// Values of a long tensor are read anew for every node that reads them, and say nothing of shapes.
void BoundData(onnx::TensorProto* tensor) {
  const int values =
      std::max({tensor->float_data_size(), tensor->int32_data_size(), tensor->int64_data_size(),
                tensor->double_data_size(), tensor->uint64_data_size(), tensor->string_data_size()});
  if (values <= kMostValues) return;
  tensor->clear_float_data();
  tensor->clear_int32_data();
  tensor->clear_int64_data();
  tensor->clear_double_data();
  tensor->clear_uint64_data();
  tensor->clear_string_data();
}

/// The same for the lists that a Constant may have in place of a tensor.
void BoundList(onnx::AttributeProto* attribute) {
  const bool integers = attribute->name() == "value_ints" && attribute->ints_size() > kMostValues;
  const bool floats = attribute->name() == "value_floats" && attribute->floats_size() > kMostValues;
  if (!integers && !floats) return;
  const int size = integers ? attribute->ints_size() : attribute->floats_size();
  attribute->Clear();
  attribute->set_name("value");
  attribute->set_type(onnx::AttributeProto::TENSOR);
  attribute->mutable_t()->set_data_type(integers ? onnx::TensorProto::INT64 : onnx::TensorProto::FLOAT);
  attribute->mutable_t()->add_dims(size);
}

/// Takes out of a graph what would be copied, or read, for node after node.
void BoundGraph(onnx::GraphProto* graph) {
  for (auto* values : {graph->mutable_input(), graph->mutable_output(), graph->mutable_value_info()}) {
    for (auto& value : *values) {
      if (value.has_type()) BoundType(value.mutable_type());
    }
  }
  for (auto& tensor : *graph->mutable_initializer()) BoundData(&tensor);
  for (auto& node : *graph->mutable_node()) {
    for (auto& attribute : *node.mutable_attribute()) {
      if (attribute.has_g()) BoundGraph(attribute.mutable_g());
      if (attribute.has_tp()) BoundType(attribute.mutable_tp());
      if (attribute.has_t()) BoundData(attribute.mutable_t());
      if (node.op_type() == "Constant") BoundList(&attribute);
    }
  }
}

/// What inference functions see of a node. Some read the type of an operand without asking whether there is
/// one; a type that says nothing stands for one that isn't known.
class KnownTypes : public onnx::InferenceContext {
 public:
  KnownTypes(onnx::InferenceContext& context, const onnx::OpSchema& schema)
      : context_(context), schema_(schema) {}

  const onnx::AttributeProto* getAttribute(const std::string& name) const override {
    return context_.getAttribute(name);
  }
  size_t getNumInputs() const override { return context_.getNumInputs(); }
  const onnx::TypeProto* getInputType(size_t index) const override {
    const onnx::TypeProto* type = context_.getInputType(index);
    return type == nullptr && Required(index) ? &onnx::TypeProto::default_instance() : type;
  }
  bool hasInput(size_t index) const override { return context_.hasInput(index); }
  const onnx::TensorProto* getInputData(size_t index) const override { return context_.getInputData(index); }
  size_t getNumOutputs() const override { return context_.getNumOutputs(); }
  onnx::TypeProto* getOutputType(size_t index) override { return context_.getOutputType(index); }
  bool hasOutput(size_t index) override { return context_.hasOutput(index); }
  onnx::GraphInferencer* getGraphAttributeInferencer(const std::string& name) override {
    return context_.getGraphAttributeInferencer(name);
  }
  const onnx::SparseTensorProto* getInputSparseData(size_t index) const override {
    return context_.getInputSparseData(index);
  }
  const onnx::TensorShapeProto* getSymbolicInput(size_t index) const override {
    return context_.getSymbolicInput(index);
  }
  std::string getDisplayName() const override { return context_.getDisplayName(); }

 private:
  bool Required(size_t index) const {
    return index < schema_.inputs().size() && schema_.inputs()[index].GetOption() == onnx::OpSchema::Single;
  }

  onnx::InferenceContext& context_;
  const onnx::OpSchema& schema_;
};

/// Hands on only what is short.
class BoundedValues : public onnx::DataPropagationContext {
 public:
  explicit BoundedValues(onnx::DataPropagationContext& context) : context_(context) {}

  const onnx::AttributeProto* getAttribute(const std::string& name) const override {
    return context_.getAttribute(name);
  }
  size_t getNumInputs() const override { return context_.getNumInputs(); }
  const onnx::TypeProto* getInputType(size_t index) const override { return context_.getInputType(index); }
  size_t getNumOutputs() const override { return context_.getNumOutputs(); }
  const onnx::TypeProto* getOutputType(size_t index) const override { return context_.getOutputType(index); }
  /// All that one node reads counts together: it may join its inputs.
  const onnx::TensorShapeProto* getInputData(size_t index) override {
    // Values that nobody knows would be made up: as many as the tensor has elements.
    const onnx::TypeProto* type = context_.getInputType(index);
    if (type != nullptr && type->tensor_type().shape().dim_size() == 1 &&
        type->tensor_type().shape().dim(0).dim_value() > kMostValues)
      return nullptr;
    const onnx::TensorShapeProto* data = context_.getInputData(index);
    if (data == nullptr) return nullptr;
    read_ += data->dim_size();
    return read_ > 4 * int64_t{kMostValues} ? nullptr : data;
  }
  void addOutputData(size_t index, onnx::TensorShapeProto&& data) override {
    if (data.dim_size() > kMostValues) return;
    BoundShape(&data);
    context_.addOutputData(index, std::move(data));
  }

 private:
  onnx::DataPropagationContext& context_;
  int64_t read_ = 0;
};

/// `schema` is one of ONNX's own, which last.
std::unique_ptr<const onnx::OpSchema> Bounded(const onnx::OpSchema& schema) {
  auto bounded = std::make_unique<onnx::OpSchema>(schema);
  if (schema.has_type_and_shape_inference_function()) {
    bounded->TypeAndShapeInferenceFunction(
        [&schema, infer = schema.GetTypeAndShapeInferenceFunction()](onnx::InferenceContext& context) {
          KnownTypes known(context, schema);
          infer(known);
          for (size_t i = 0; i < context.getNumOutputs(); ++i) {
            if (onnx::TypeProto* type = context.getOutputType(i)) BoundType(type);
          }
        });
  }
  if (schema.has_data_propagation_function()) {
    bounded->PartialDataPropagationFunction(
        [propagate = schema.GetDataPropagationFunction()](onnx::DataPropagationContext& context) {
          BoundedValues values(context);
          propagate(values);
        });
  }
  return bounded;
}

/// ONNX's operators, whose inference is bounded.
class BoundedSchemas : public onnx::ISchemaRegistry {
 public:
  // NOLINTNEXTLINE(google-default-arguments): ONNX's.
  const onnx::OpSchema* GetSchema(const std::string& op, int opset,
                                  const std::string& domain = onnx::ONNX_DOMAIN) const override {
    const onnx::OpSchema* schema = OnnxSchema(op, opset, domain);
    if (schema == nullptr) return RuntimeSchema(op, opset, domain);
    const std::lock_guard<std::mutex> lock(mutex_);
    auto& bounded = bounded_[schema];
    if (bounded == nullptr) bounded = Bounded(*schema);
    return bounded.get();
  }

 private:
  mutable std::mutex mutex_;
  mutable std::unordered_map<const onnx::OpSchema*, std::unique_ptr<const onnx::OpSchema>> bounded_;
};

}  // namespace

void InferTypes(onnx::ModelProto* model, const onnx::ShapeInferenceOptions& options) {
  static const BoundedSchemas schemas;
  BoundGraph(model->mutable_graph());
  onnx::shape_inference::InferShapes(*model, &schemas, options);
}

}  // namespace halfsafe
