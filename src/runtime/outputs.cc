#include "runtime/outputs.h"

#include <fmt/format.h>
#include <onnx/onnx_pb.h>

#include <utility>

#include "data/array.h"
#include "halfsafe/error.h"

namespace halfsafe {
namespace {

/// As ONNX Runtime 1.27 and later number them; the headers may be older.
constexpr std::pair<DType, int> kRenumbered[] = {
    {DType::kUint2, 24}, {DType::kInt2, 25}, {DType::kFloat8E8M0, 26}};

void CopyStrings(const Ort::Value& value, TensorView* view) {
  const auto bytes = std::make_shared<std::vector<std::byte>>();
  for (size_t i = 0; i < view->count; ++i) AppendString(value.GetStringTensorElement(i), bytes.get());
  view->data = bytes->data();
  view->size = bytes->size();
  view->owner = bytes;
}

size_t CountOf(const Array& array) {
  size_t count = 1;
  for (const int64_t dim : array.shape) count *= static_cast<size_t>(dim);
  return count;
}

TensorView ViewTensor(const Ort::Value& value, const std::string& name) {
  const auto info = value.GetTensorTypeAndShapeInfo();
  TensorView view;
  view.dtype = FromRuntimeType(info.GetElementType());
  view.shape = info.GetShape();
  view.count = info.GetElementCount();
  if (view.dtype == DType::kString) {
    CopyStrings(value, &view);
    return view;
  }
  if (DTypeBits(view.dtype) == 0) {
    throw BadInput(
        fmt::format("output {} has type {}, which can't be compared", name, DTypeName(view.dtype)));
  }
  view.data = value.GetTensorRawData();
  view.size = ArrayBytes(view.dtype, view.shape, name);
  return view;
}

Array CopyTensor(const TensorView& view) {
  const auto* bytes = static_cast<const std::byte*>(view.data);
  return {view.dtype, view.shape, {bytes, bytes + view.size}};
}

Error NotComparable(const std::string& name) {
  return BadInput(fmt::format(
      "output {} is neither a tensor nor a sequence of tensors: optionals and maps can't be compared", name));
}

}  // namespace

ONNXTensorElementDataType RuntimeType(DType dtype) {
  for (const auto& [ours, theirs] : kRenumbered) {
    if (ours == dtype) return static_cast<ONNXTensorElementDataType>(theirs);
  }
  return static_cast<ONNXTensorElementDataType>(dtype);
}

DType FromRuntimeType(ONNXTensorElementDataType type) {
  for (const auto& [ours, theirs] : kRenumbered) {
    if (theirs == static_cast<int>(type)) return ours;
  }
  return static_cast<DType>(type);
}

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
        {array.dtype, array.shape, array.bytes.data(), CountOf(array), array.bytes.size(), nullptr});
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
