#include "runtime/outputs.h"

#include <fmt/format.h>
#include <onnx/onnx_pb.h>

#include "halfsafe/error.h"

namespace halfsafe {
namespace {

TensorView ViewTensor(const Ort::Value& value, const std::string& name) {
  const auto info = value.GetTensorTypeAndShapeInfo();
  TensorView view;
  view.dtype = static_cast<DType>(info.GetElementType());
  if (DTypeSize(view.dtype) == 0) {
    throw BadInput(
        fmt::format("output {} has type {}, which can't be compared", name, DTypeName(view.dtype)));
  }
  view.shape = info.GetShape();
  view.count = info.GetElementCount();
  view.data = value.GetTensorRawData();
  return view;
}

Array CopyTensor(const TensorView& view) {
  const auto* bytes = static_cast<const std::byte*>(view.data);
  return {view.dtype, view.shape, {bytes, bytes + view.count * DTypeSize(view.dtype)}};
}

Error NotComparable(const std::string& name) {
  return BadInput(fmt::format(
      "output {} is neither a tensor nor a sequence of tensors: optionals and maps can't be compared", name));
}

}  // namespace

void RequireComparableOutputs(const Model& model) {
  for (const auto& output : model.proto().graph().output()) {
    const auto& type = output.type();
    const bool known = type.value_case() != onnx::TypeProto::VALUE_NOT_SET;
    const bool sequence = type.has_sequence_type() && type.sequence_type().elem_type().has_tensor_type();
    if (known && !type.has_tensor_type() && !sequence)
      throw NotComparable(fmt::format("{} of {}", output.name(), model.path().string()));
  }
}

OutputView View(const Ort::Value& value, const std::string& name) {
  OutputView view;
  if (value.IsTensor()) {
    view.tensors.push_back(ViewTensor(value, name));
    return view;
  }
  if (value.GetTypeInfo().GetONNXType() != ONNX_TYPE_SEQUENCE) throw NotComparable(name);
  view.sequence = true;
  const Ort::AllocatorWithDefaultOptions allocator;
  for (size_t i = 0; i < value.GetCount(); ++i) {
    view.elements.push_back(value.GetValue(static_cast<int>(i), allocator));
    if (!view.elements.back().IsTensor()) throw NotComparable(name);
    view.tensors.push_back(ViewTensor(view.elements.back(), name));
  }
  return view;
}

OutputView View(const OutputValue& value) {
  OutputView view;
  view.sequence = value.sequence;
  for (const Array& array : value.tensors) {
    view.tensors.push_back(
        {array.dtype, array.shape, array.bytes.data(), array.bytes.size() / DTypeSize(array.dtype)});
  }
  return view;
}

OutputValue CopyOutput(const OutputView& view) {
  OutputValue value;
  value.sequence = view.sequence;
  for (const TensorView& tensor : view.tensors) value.tensors.push_back(CopyTensor(tensor));
  return value;
}

std::vector<NamedArray> CopyArrays(const std::string& name, const OutputView& view) {
  std::vector<NamedArray> arrays;
  for (size_t i = 0; i < view.tensors.size(); ++i)
    arrays.push_back({view.sequence ? fmt::format("{}[{}]", name, i) : name, CopyTensor(view.tensors[i])});
  return arrays;
}

}  // namespace halfsafe
