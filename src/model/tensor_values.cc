#include <fmt/format.h>
#include <onnx/onnx_pb.h>

#include <cstring>

#include "halfsafe/error.h"
#include "halfsafe/half.h"
#include "halfsafe/model.h"
#include "model/walk.h"

namespace halfsafe {
namespace {

/// Packs a typed protobuf field as `Out` elements.
template <typename Out, typename Field>
std::vector<std::byte> Pack(const Field& field) {
  std::vector<std::byte> bytes(static_cast<size_t>(field.size()) * sizeof(Out));
  for (int i = 0; i < field.size(); ++i) {
    const Out value = static_cast<Out>(field.Get(i));
    std::memcpy(bytes.data() + static_cast<size_t>(i) * sizeof(Out), &value, sizeof(Out));
  }
  return bytes;
}

/// Which typed field holds which element type: the comments of TensorProto in onnx.proto.
std::vector<std::byte> PackTypedField(const onnx::TensorProto& tensor) {
  switch (tensor.data_type()) {
    case onnx::TensorProto::FLOAT:
      return Pack<float>(tensor.float_data());
    case onnx::TensorProto::DOUBLE:
      return Pack<double>(tensor.double_data());
    case onnx::TensorProto::INT64:
      return Pack<int64_t>(tensor.int64_data());
    case onnx::TensorProto::UINT64:
      return Pack<uint64_t>(tensor.uint64_data());
    case onnx::TensorProto::UINT32:
      return Pack<uint32_t>(tensor.uint64_data());
    case onnx::TensorProto::INT32:
      return Pack<int32_t>(tensor.int32_data());
    case onnx::TensorProto::INT16:
    case onnx::TensorProto::UINT16:
    case onnx::TensorProto::FLOAT16:
    case onnx::TensorProto::BFLOAT16:
      return Pack<uint16_t>(tensor.int32_data());
    case onnx::TensorProto::INT8:
    case onnx::TensorProto::UINT8:
    case onnx::TensorProto::BOOL:
      return Pack<uint8_t>(tensor.int32_data());
    default:
      throw BadInput(fmt::format("tensor {} has type {}, whose values can't be read", tensor.name(),
                                 DTypeName(static_cast<DType>(tensor.data_type()))));
  }
}

template <typename In, typename Convert>
std::vector<float> ToFloats(const std::vector<std::byte>& bytes, Convert convert) {
  std::vector<float> values(bytes.size() / sizeof(In));
  for (size_t i = 0; i < values.size(); ++i) {
    In value;
    std::memcpy(&value, bytes.data() + i * sizeof(In), sizeof(In));
    values[i] = convert(value);
  }
  return values;
}

}  // namespace

Array ReadTensor(const Model& model, const onnx::TensorProto& tensor) {
  Array array;
  array.dtype = static_cast<DType>(tensor.data_type());
  array.shape.assign(tensor.dims().begin(), tensor.dims().end());
  const TensorBytes raw = model.RawBytes(tensor);
  array.bytes =
      raw.bytes.empty() ? PackTypedField(tensor) : std::vector<std::byte>(raw.bytes.begin(), raw.bytes.end());
  if (const uint64_t expected = TensorByteSize(tensor); array.bytes.size() != expected) {
    throw BadInput(fmt::format("tensor {} of shape [{}] needs {} bytes of data, found {}", tensor.name(),
                               fmt::join(tensor.dims(), ", "), expected, array.bytes.size()));
  }
  return array;
}

std::vector<float> ReadFloats(const Model& model, const onnx::TensorProto& tensor) {
  const Array array = ReadTensor(model, tensor);
  switch (array.dtype) {
    case DType::kFloat:
      return ToFloats<float>(array.bytes, [](float value) { return value; });
    case DType::kDouble:
      return ToFloats<double>(array.bytes, [](double value) { return static_cast<float>(value); });
    case DType::kFloat16:
      return ToFloats<uint16_t>(array.bytes, HalfValue);
    case DType::kBfloat16:
      return ToFloats<uint16_t>(array.bytes, Bfloat16Value);
    default:
      throw BadInput(fmt::format("tensor {} has type {}, expected floating point", tensor.name(),
                                 DTypeName(array.dtype)));
  }
}

FloatView ViewFloats(const Model& model, const onnx::TensorProto& tensor) {
  if (tensor.data_type() == onnx::TensorProto::FLOAT) {
    const TensorBytes raw = model.RawBytes(tensor);
    const bool aligned = reinterpret_cast<uintptr_t>(raw.bytes.data()) % alignof(float) == 0;
    if (!raw.bytes.empty() && aligned && raw.bytes.size() == TensorByteSize(tensor)) {
      return {{reinterpret_cast<const float*>(raw.bytes.data()), raw.bytes.size() / sizeof(float)},
              raw.owner};
    }
  }
  const auto values = std::make_shared<std::vector<float>>(ReadFloats(model, tensor));
  return {*values, values};
}

}  // namespace halfsafe
