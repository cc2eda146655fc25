#include "data/onnx_test_data.h"

#include <fmt/format.h>
#include <onnx/onnx_pb.h>
// Needs what stands above.
#include <onnx/onnx-data.pb.h>

#include <algorithm>
#include <charconv>
#include <climits>
#include <cstring>
#include <limits>
#include <utility>

#include "base/file.h"
#include "data/array.h"
#include "data/folder.h"
#include "halfsafe/error.h"
#include "halfsafe/progress.h"

namespace halfsafe {
namespace {

/// Copies a typed field of the proto, each number cut to the `To` that the tensor holds.
template <typename To, typename Field>
std::vector<std::byte> FieldBytes(const Field& field, const std::string& where) {
  std::vector<std::byte> bytes(static_cast<size_t>(field.size()) * sizeof(To));
  for (int i = 0; i < field.size(); ++i) {
    if constexpr (std::is_integral_v<To>) {
      if (!std::in_range<To>(field[i])) {
        throw BadInput(fmt::format("{}: element {} is {}, which does not fit its type", where, i, field[i]));
      }
    }
    const To value = static_cast<To>(field[i]);
    std::memcpy(&bytes[static_cast<size_t>(i) * sizeof(To)], &value, sizeof(To));
  }
  return bytes;
}

/// The elements of a tensor without raw_data, from the field that ONNX prescribes for its type.
std::vector<std::byte> TypedBytes(const onnx::TensorProto& proto, DType dtype, const std::string& where) {
  switch (dtype) {
    case DType::kFloat:
      return FieldBytes<float>(proto.float_data(), where);
    case DType::kDouble:
      return FieldBytes<double>(proto.double_data(), where);
    case DType::kInt64:
      return FieldBytes<int64_t>(proto.int64_data(), where);
    case DType::kUint64:
      return FieldBytes<uint64_t>(proto.uint64_data(), where);
    case DType::kUint32:
      return FieldBytes<uint32_t>(proto.uint64_data(), where);
    case DType::kInt32:
      return FieldBytes<int32_t>(proto.int32_data(), where);
    case DType::kInt16:
      return FieldBytes<int16_t>(proto.int32_data(), where);
    case DType::kInt8:
      return FieldBytes<int8_t>(proto.int32_data(), where);
    // Elements of less than a byte are packed: the field holds whole bytes.
    case DType::kUint8:
    case DType::kBool:
    case DType::kFloat8E4M3FN:
    case DType::kFloat8E4M3FNUZ:
    case DType::kFloat8E5M2:
    case DType::kFloat8E5M2FNUZ:
    case DType::kFloat8E8M0:
    case DType::kUint4:
    case DType::kInt4:
    case DType::kFloat4E2M1:
    case DType::kUint2:
    case DType::kInt2:
      return FieldBytes<uint8_t>(proto.int32_data(), where);
    // These two come as bit patterns.
    case DType::kFloat16:
    case DType::kBfloat16:
    case DType::kUint16:
      return FieldBytes<uint16_t>(proto.int32_data(), where);
    default:
      return {};
  }
}

Array ToStrings(const onnx::TensorProto& proto, const std::string& where) {
  Array array{DType::kString, {proto.dims().begin(), proto.dims().end()}, {}};
  const uint64_t count = ArrayBytes(DType::kUint8, array.shape, where);  // Elements, as if each were a byte.
  if (count != static_cast<uint64_t>(proto.string_data_size())) {
    throw BadInput(fmt::format("{}: string of shape {} needs {} elements, found {}", where,
                               ShapeText(array.shape), count, proto.string_data_size()));
  }
  for (const std::string& text : proto.string_data()) {
    if (text.find('\0') != std::string::npos)
      throw BadInput(fmt::format("{}: a string holds a zero byte, which ONNX Runtime can't be given", where));
    AppendString(text, &array.bytes);
  }
  return array;
}

Array ToArray(const onnx::TensorProto& proto, const std::string& where) {
  const auto dtype = static_cast<DType>(proto.data_type());
  // A sequence, an optional or a map parses as a tensor too, but these betray it.
  if (dtype == DType::kUndefined || proto.has_segment()) {
    throw BadInput(fmt::format("{}: not a tensor, which the model expects", where));
  }
  if (dtype == DType::kString) return ToStrings(proto, where);
  if (DTypeBits(dtype) == 0) {
    throw BadInput(fmt::format("{}: a tensor of {}, expected {}", where, DTypeName(dtype), kSampleDTypes));
  }
  if (proto.data_location() == onnx::TensorProto::EXTERNAL || proto.external_data_size() > 0) {
    throw BadInput(
        fmt::format("{}: keeps its elements in another file (external data), expected them inside", where));
  }
  Array array{dtype, {proto.dims().begin(), proto.dims().end()}, {}};
  const size_t size = ArrayBytes(dtype, array.shape, where);
  if (proto.has_raw_data()) {
    const auto* raw = reinterpret_cast<const std::byte*>(proto.raw_data().data());
    array.bytes.assign(raw, raw + proto.raw_data().size());
  } else {
    array.bytes = TypedBytes(proto, dtype, where);
  }
  if (array.bytes.size() != size) {
    throw BadInput(fmt::format("{}: {} of shape {} needs {} bytes, found {}", where, DTypeName(dtype),
                               ShapeText(array.shape), size, array.bytes.size()));
  }
  return array;
}

std::vector<Array> ToArrays(const onnx::SequenceProto& proto, const std::string& where) {
  std::vector<Array> arrays;
  const bool tensors =
      proto.elem_type() == onnx::SequenceProto::TENSOR ||
      (proto.elem_type() == onnx::SequenceProto::UNDEFINED && proto.tensor_values_size() == 0);
  if (!tensors) throw BadInput(fmt::format("{}: not a sequence of tensors, which the model expects", where));
  for (const auto& tensor : proto.tensor_values()) arrays.push_back(ToArray(tensor, where));
  return arrays;
}

template <typename Proto>
Proto Parse(const MappedFile& file, const char* what) {
  Proto proto;
  if (file.bytes().size() > INT_MAX ||
      !proto.ParseFromArray(file.bytes().data(), static_cast<int>(file.bytes().size()))) {
    throw BadInput(fmt::format("{}: not {}", file.path().string(), what));
  }
  return proto;
}

class TestData : public SampleSource {
 public:
  TestData(std::filesystem::path folder, std::string label, const std::vector<InputSpec>& inputs)
      : folder_(std::move(folder)), label_(std::move(label)) {
    for (const std::filesystem::path& name : ListFolder(folder_)) {
      if (const auto index = TestDataIndex(name.native())) files_.emplace_back(*index, name);
    }
    inputs_ = inputs;
  }

  uint64_t size() const override { return 1; }
  std::string Name(uint64_t /*index*/) const override { return label_; }

  Sample Read(uint64_t /*index*/) const override {
    Sample sample{label_, {}};
    for (const auto& [index, name] : files_) {
      ThrowIfInterrupted();
      sample.inputs.push_back(ReadInput(index, folder_ / name));
    }
    return sample;
  }

 private:
  NamedArray ReadInput(uint64_t index, const std::filesystem::path& path) const {
    const std::string where = path.string();
    if (!std::filesystem::is_regular_file(path)) throw BadInput(fmt::format("{}: not a regular file", where));
    if (!inputs_.empty() && index >= inputs_.size()) {
      throw BadInput(fmt::format("{}: is input {}, but the model has {} (counted from 0)", where, index,
                                 inputs_.size()));
    }
    const MappedFile file(path, "test data");
    if (!inputs_.empty() && inputs_[index].sequence)
      return {inputs_[index].name,
              {},
              ToArrays(Parse<onnx::SequenceProto>(file, "a sequence (SequenceProto)"), where)};
    const auto proto = Parse<onnx::TensorProto>(file, "an ONNX tensor (TensorProto)");
    if (inputs_.empty() && proto.name().empty()) {
      throw BadInput(
          fmt::format("{}: does not say which input it is for; add a name to the tensor, or use a command "
                      "that reads the model",
                      where));
    }
    return {inputs_.empty() ? proto.name() : inputs_[index].name, ToArray(proto, where)};
  }

  std::filesystem::path folder_;
  std::string label_;
  std::vector<std::pair<uint64_t, std::filesystem::path>> files_;  ///< K and file name, in natural order.
  std::vector<InputSpec> inputs_;                                  ///< The model's.
};

}  // namespace

std::optional<uint64_t> TestDataIndex(std::string_view file_name) {
  constexpr std::string_view kStart = "input_", kEnd = ".pb";
  if (file_name.size() <= kStart.size() + kEnd.size()) return std::nullopt;
  if (!file_name.starts_with(kStart) || !file_name.ends_with(kEnd)) return std::nullopt;
  file_name.remove_prefix(kStart.size());
  file_name.remove_suffix(kEnd.size());
  uint64_t index = 0;
  const auto [end, error] = std::from_chars(file_name.data(), file_name.data() + file_name.size(), index);
  if (error != std::errc() || end != file_name.data() + file_name.size()) return std::nullopt;
  return index;
}

std::unique_ptr<SampleSource> OpenTestData(const std::filesystem::path& folder, const std::string& label,
                                           const std::vector<InputSpec>& inputs) {
  return std::make_unique<TestData>(folder, label, inputs);
}

}  // namespace halfsafe
