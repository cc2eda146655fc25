#include "model/value_info.h"

namespace halfsafe {

void WriteShape(const TensorInfo& tensor, onnx::TypeProto::Tensor* type) {
  type->clear_shape();
  if (!tensor.has_rank) return;
  onnx::TensorShapeProto* shape = type->mutable_shape();
  for (const int64_t size : tensor.shape) {
    auto* dim = shape->add_dim();
    if (size >= 0) dim->set_dim_value(size);
  }
}

void Declare(const TensorInfo& tensor, DType dtype, onnx::ValueInfoProto* value) {
  value->set_name(tensor.local);
  if (!tensor.is_tensor || dtype == DType::kUndefined) return;
  auto* type = value->mutable_type()->mutable_tensor_type();
  type->set_elem_type(static_cast<int>(dtype));
  WriteShape(tensor, type);
}

}  // namespace halfsafe
