#include "data/array.h"

#include <fmt/format.h>

#include <limits>

#include "halfsafe/error.h"

namespace halfsafe {
namespace {

/// numpy's own limit; ONNX Runtime's is lower.
constexpr size_t kMaxRank = 64;

}  // namespace

std::string DTypeName(DType dtype) {
  switch (dtype) {
    case DType::kUndefined:
      return "undefined";
    case DType::kFloat:
      return "float32";
    case DType::kUint8:
      return "uint8";
    case DType::kInt8:
      return "int8";
    case DType::kUint16:
      return "uint16";
    case DType::kInt16:
      return "int16";
    case DType::kInt32:
      return "int32";
    case DType::kInt64:
      return "int64";
    case DType::kString:
      return "string";
    case DType::kBool:
      return "bool";
    case DType::kFloat16:
      return "float16";
    case DType::kDouble:
      return "float64";
    case DType::kUint32:
      return "uint32";
    case DType::kUint64:
      return "uint64";
    case DType::kComplex64:
      return "complex64";
    case DType::kComplex128:
      return "complex128";
    case DType::kBfloat16:
      return "bfloat16";
  }
  return fmt::format("type {}", static_cast<int>(dtype));
}

size_t DTypeSize(DType dtype) {
  switch (dtype) {
    case DType::kBool:
    case DType::kUint8:
    case DType::kInt8:
      return 1;
    case DType::kUint16:
    case DType::kInt16:
    case DType::kFloat16:
    case DType::kBfloat16:
      return 2;
    case DType::kFloat:
    case DType::kInt32:
    case DType::kUint32:
      return 4;
    case DType::kDouble:
    case DType::kInt64:
    case DType::kUint64:
      return 8;
    default:
      return 0;
  }
}

bool IsFloat(DType dtype) {
  return dtype == DType::kFloat || dtype == DType::kFloat16 || dtype == DType::kBfloat16 ||
         dtype == DType::kDouble;
}

std::string ShapeText(std::span<const int64_t> shape) {
  std::string text = "[";
  for (size_t i = 0; i < shape.size(); ++i) {
    if (i > 0) text += ", ";
    text += shape[i] == -1 ? "?" : std::to_string(shape[i]);
  }
  return text + "]";
}

size_t ArrayBytes(DType dtype, std::span<const int64_t> shape, std::string_view where) {
  if (shape.size() > kMaxRank) {
    throw BadInput(fmt::format("{}: {} dimensions, at most {} are supported", where, shape.size(), kMaxRank));
  }
  // One that fits int64_t fits size_t and ptrdiff_t too.
  int64_t bytes = static_cast<int64_t>(DTypeSize(dtype));
  bool empty = bytes == 0;
  for (const int64_t dimension : shape) {
    if (dimension < 0) {
      throw BadInput(
          fmt::format("{}: shape {} has the negative dimension {}", where, ShapeText(shape), dimension));
    }
    if (dimension == 0) {
      empty = true;
    } else if (__builtin_mul_overflow(bytes, dimension, &bytes)) {
      throw BadInput(fmt::format("{}: shape {} is larger than any memory", where, ShapeText(shape)));
    }
  }
  return empty ? 0 : static_cast<size_t>(bytes);
}

DType DTypeFromName(std::string_view name) {
  for (int number = 0; number <= static_cast<int>(DType::kBfloat16); ++number) {
    if (DTypeName(static_cast<DType>(number)) == name) return static_cast<DType>(number);
  }
  return DType::kUndefined;
}

}  // namespace halfsafe
