#include "data/array.h"

#include <fmt/format.h>

#include <algorithm>
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
    case DType::kFloat8E4M3FN:
      return "float8e4m3fn";
    case DType::kFloat8E4M3FNUZ:
      return "float8e4m3fnuz";
    case DType::kFloat8E5M2:
      return "float8e5m2";
    case DType::kFloat8E5M2FNUZ:
      return "float8e5m2fnuz";
    case DType::kUint4:
      return "uint4";
    case DType::kInt4:
      return "int4";
    case DType::kFloat4E2M1:
      return "float4e2m1";
    case DType::kFloat8E8M0:
      return "float8e8m0";
    case DType::kUint2:
      return "uint2";
    case DType::kInt2:
      return "int2";
  }
  return fmt::format("type {}", static_cast<int>(dtype));
}

size_t DTypeBits(DType dtype) {
  switch (dtype) {
    case DType::kUint2:
    case DType::kInt2:
      return 2;
    case DType::kUint4:
    case DType::kInt4:
    case DType::kFloat4E2M1:
      return 4;
    case DType::kBool:
    case DType::kUint8:
    case DType::kInt8:
    case DType::kFloat8E4M3FN:
    case DType::kFloat8E4M3FNUZ:
    case DType::kFloat8E5M2:
    case DType::kFloat8E5M2FNUZ:
    case DType::kFloat8E8M0:
      return 8;
    case DType::kUint16:
    case DType::kInt16:
    case DType::kFloat16:
    case DType::kBfloat16:
      return 16;
    case DType::kFloat:
    case DType::kInt32:
    case DType::kUint32:
      return 32;
    case DType::kDouble:
    case DType::kInt64:
    case DType::kUint64:
      return 64;
    default:
      return 0;
  }
}

size_t DTypeSize(DType dtype) { return DTypeBits(dtype) / 8; }

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
  // A number of bits that fits int64_t leaves one of bytes that fits size_t and ptrdiff_t too.
  int64_t bits = static_cast<int64_t>(DTypeBits(dtype));
  bool empty = bits == 0;
  for (const int64_t dimension : shape) {
    if (dimension < 0) {
      throw BadInput(
          fmt::format("{}: shape {} has the negative dimension {}", where, ShapeText(shape), dimension));
    }
    if (dimension == 0) {
      empty = true;
    } else if (__builtin_mul_overflow(bits, dimension, &bits)) {
      throw BadInput(fmt::format("{}: shape {} is larger than any memory", where, ShapeText(shape)));
    }
  }
  return empty ? 0 : (static_cast<size_t>(bits) + 7) / 8;
}

std::vector<std::string_view> StringsOf(std::span<const std::byte> bytes) {
  std::vector<std::string_view> strings;
  std::string_view rest(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  while (!rest.empty()) {
    const size_t end = std::min(rest.find('\0'), rest.size());
    strings.push_back(rest.substr(0, end));
    rest.remove_prefix(std::min(end + 1, rest.size()));
  }
  return strings;
}

void AppendString(std::string_view text, std::vector<std::byte>* bytes) {
  const auto* begin = reinterpret_cast<const std::byte*>(text.data());
  bytes->insert(bytes->end(), begin, begin + text.size());
  bytes->push_back(std::byte{0});
}

void RequireNumpyForm(const NamedArray& value) {
  if (!value.sequence) return;  // What numpy has no type for is refused where its header is written.
  throw BadInput(fmt::format("{} is a sequence, which only ONNX test data can hold", value.name));
}

DType DTypeFromName(std::string_view name) {
  for (int number = 0; number <= static_cast<int>(DType::kInt2); ++number) {
    if (DTypeName(static_cast<DType>(number)) == name) return static_cast<DType>(number);
  }
  return DType::kUndefined;
}

}  // namespace halfsafe
