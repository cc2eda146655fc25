#include "runtime/symbolic_shape.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <memory>

namespace halfsafe {
namespace {

std::string FreshName() {
  static std::atomic<uint64_t> counter{0};
  return fmt::format("halfsafe_dim_{}", counter++);
}

SymbolicDim Broadcast(const SymbolicDim& one, const SymbolicDim& other) {
  if (one == other || other.value == 1) return one;
  if (one.value == 1) return other;
  // A number other than 1 wins: a free dimension beside it is the same number or 1.
  if (one.value >= 0) return one;
  if (other.value >= 0) return other;
  return {-1, FreshName()};
}

}  // namespace

SymbolicShape Broadcast(const SymbolicShape& one, const SymbolicShape& other) {
  if (!one || !other) return std::nullopt;
  const auto& longer = one->size() >= other->size() ? *one : *other;
  const auto& shorter = one->size() >= other->size() ? *other : *one;
  std::vector<SymbolicDim> result = longer;
  const size_t offset = longer.size() - shorter.size();
  for (size_t i = 0; i < shorter.size(); ++i) result[offset + i] = Broadcast(longer[offset + i], shorter[i]);
  return result;
}

SymbolicShape InputShape(OrtShapeInferContext* context, size_t index) {
  const OrtApi& api = Ort::GetApi();
  OrtTensorTypeAndShapeInfo* info = nullptr;
  Ort::ThrowOnError(api.ShapeInferContext_GetInputTypeShape(context, index, &info));
  size_t rank = 0;
  Ort::ThrowOnError(api.GetDimensionsCount(info, &rank));
  // Rank 0 is also what an unknown shape looks like here, so it is left open: a scalar costs nothing to copy.
  if (rank == 0) return std::nullopt;
  std::vector<int64_t> dims(rank);
  std::vector<const char*> names(rank, "");
  Ort::ThrowOnError(api.GetDimensions(info, dims.data(), rank));
  Ort::ThrowOnError(api.GetSymbolicDimensions(info, names.data(), rank));
  std::vector<SymbolicDim> shape(rank);
  for (size_t i = 0; i < rank; ++i) {
    shape[i].value = std::max<int64_t>(dims[i], -1);
    if (shape[i].value >= 0) continue;
    shape[i].name = names[i] == nullptr ? "" : names[i];
    if (shape[i].name.empty()) shape[i].name = FreshName();
  }
  return shape;
}

void SetOutputShape(OrtShapeInferContext* context, size_t index, const SymbolicShape& shape) {
  if (!shape) return;
  const OrtApi& api = Ort::GetApi();
  OrtTensorTypeAndShapeInfo* input = nullptr;
  ONNXTensorElementDataType type = ONNX_TENSOR_ELEMENT_DATA_TYPE_UNDEFINED;
  Ort::ThrowOnError(api.ShapeInferContext_GetInputTypeShape(context, 0, &input));
  Ort::ThrowOnError(api.GetTensorElementType(input, &type));
  OrtTensorTypeAndShapeInfo* result = nullptr;
  Ort::ThrowOnError(api.CreateTensorTypeAndShapeInfo(&result));
  const std::unique_ptr<OrtTensorTypeAndShapeInfo, decltype(api.ReleaseTensorTypeAndShapeInfo)> owner(
      result, api.ReleaseTensorTypeAndShapeInfo);
  std::vector<int64_t> dims;
  std::vector<const char*> names;
  for (const SymbolicDim& dim : *shape) {
    dims.push_back(dim.value);
    names.push_back(dim.name.c_str());
  }
  Ort::ThrowOnError(api.SetTensorElementType(result, type));
  Ort::ThrowOnError(api.SetDimensions(result, dims.data(), dims.size()));
  Ort::ThrowOnError(api.SetSymbolicDimensions(result, names.data(), names.size()));
  Ort::ThrowOnError(api.ShapeInferContext_SetOutputTypeShape(context, index, result));
}

OrtStatusPtr Guarded(const std::function<void()>& body) noexcept {
  try {
    body();
    return nullptr;
  } catch (const std::exception& error) {
    return Ort::GetApi().CreateStatus(ORT_FAIL, error.what());
  }
}

}  // namespace halfsafe
