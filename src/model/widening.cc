#include "model/widening.h"

#include <algorithm>
#include <span>
#include <string>
#include <string_view>

#include "model/walk.h"
#include "model/weight_conversion.h"

namespace halfsafe {
namespace {

/// Attributes that state a floating-point type by its number, in ONNX's schemas and those of ONNX Runtime's
/// own domain. An empty operator stands for any that has the attribute.
struct TypeAttribute {
  std::string_view name, op;
};
constexpr TypeAttribute kTypeAttributes[] = {
    {"to", ""},               // Cast, DequantizeWithOrder.
    {"dtype", ""},            // EyeLike, RandomNormal and its kin, SequenceEmpty, DequantizeBFP, GemmFloat8.
    {"output_dtype", ""},     // DequantizeLinear.
    {"output_datatype", ""},  // HannWindow and its kin, MelWeightMatrix.
    {"stash_type", ""},       // LayerNormalization and its kin, Range: what lies between is stored in it.
    {"softmax_precision", ""},  // Attention.
    {"precision", "QuantizeLinear"},
};

bool IsSixteenBitNumber(int64_t type) { return IsSixteenBit(static_cast<DType>(type)); }

bool IsTypeAttribute(const onnx::NodeProto& node, const onnx::AttributeProto& attribute) {
  return std::ranges::any_of(kTypeAttributes, [&](const TypeAttribute& known) {
    return known.name == attribute.name() && (known.op.empty() || known.op == node.op_type());
  });
}

/// Before opset 6 Cast states its type by name.
bool IsSixteenBitName(const std::string& name) { return name == "FLOAT16" || name == "BFLOAT16"; }

bool StatesSixteenBits(const onnx::TypeProto& type) {
  if (type.has_tensor_type()) return IsSixteenBitNumber(type.tensor_type().elem_type());
  if (type.has_sparse_tensor_type()) return IsSixteenBitNumber(type.sparse_tensor_type().elem_type());
  if (type.has_sequence_type()) return StatesSixteenBits(type.sequence_type().elem_type());
  return type.has_optional_type() && StatesSixteenBits(type.optional_type().elem_type());
}

bool StatesSixteenBits(const onnx::NodeProto& node, const onnx::AttributeProto& attribute) {
  if (attribute.has_tp() && StatesSixteenBits(attribute.tp())) return true;
  if (attribute.has_t() && IsSixteenBitNumber(attribute.t().data_type())) return true;
  if (attribute.has_g() && halfsafe::StatesSixteenBits(attribute.g())) return true;
  if (!IsTypeAttribute(node, attribute)) return false;
  return IsSixteenBitNumber(attribute.i()) || IsSixteenBitName(attribute.s());
}

void WidenType(onnx::TypeProto* type) {
  if (!StatesSixteenBits(*type)) return;
  if (type->has_tensor_type()) type->mutable_tensor_type()->set_elem_type(onnx::TensorProto::FLOAT);
  if (type->has_sparse_tensor_type())
    type->mutable_sparse_tensor_type()->set_elem_type(onnx::TensorProto::FLOAT);
  if (type->has_sequence_type()) WidenType(type->mutable_sequence_type()->mutable_elem_type());
  if (type->has_optional_type()) WidenType(type->mutable_optional_type()->mutable_elem_type());
}

void WidenAttribute(const onnx::NodeProto& node, onnx::AttributeProto* attribute) {
  if (attribute->has_tp()) WidenType(attribute->mutable_tp());
  if (!IsTypeAttribute(node, *attribute)) return;
  if (IsSixteenBitNumber(attribute->i())) attribute->set_i(onnx::TensorProto::FLOAT);
  if (IsSixteenBitName(attribute->s())) attribute->set_s("FLOAT");
}

}  // namespace

bool StatesSixteenBits(const onnx::GraphProto& graph) {
  const auto value = [](const onnx::ValueInfoProto& info) { return StatesSixteenBits(info.type()); };
  return std::ranges::any_of(graph.initializer(), IsSixteenBitNumber, &onnx::TensorProto::data_type) ||
         std::ranges::any_of(graph.input(), value) || std::ranges::any_of(graph.output(), value) ||
         std::ranges::any_of(graph.value_info(), value) ||
         std::ranges::any_of(graph.node(), [](const onnx::NodeProto& node) {
           return std::ranges::any_of(node.attribute(), [&](const onnx::AttributeProto& attribute) {
             return StatesSixteenBits(node, attribute);
           });
         });
}

void WidenStatedTypes(onnx::GraphProto* graph) {
  for (onnx::GraphProto* part : AllGraphs(graph)) {
    for (auto* values : {part->mutable_input(), part->mutable_output(), part->mutable_value_info()}) {
      for (auto& value : *values) {
        if (value.has_type()) WidenType(value.mutable_type());
      }
    }
    for (auto& node : *part->mutable_node()) {
      for (auto& attribute : *node.mutable_attribute()) WidenAttribute(node, &attribute);
    }
  }
}

void WidenInside(const Array& array, onnx::TensorProto* tensor) {
  tensor->clear_int32_data();
  tensor->clear_external_data();
  tensor->clear_data_location();
  tensor->set_data_type(onnx::TensorProto::FLOAT);
  std::string* raw = tensor->mutable_raw_data();
  raw->resize(array.bytes.size() / DTypeSize(array.dtype) * sizeof(float));
  // A string's data is aligned for any number.
  WidenValues(array.bytes, array.dtype, reinterpret_cast<float*>(raw->data()));
}

}  // namespace halfsafe
