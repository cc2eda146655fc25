#include "data/onnx_test_data.h"

#include <fmt/format.h>
#include <onnx/onnx_pb.h>

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
    case DType::kUint8:
    case DType::kBool:
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

Array ToArray(const onnx::TensorProto& proto, const std::string& where) {
  const auto dtype = static_cast<DType>(proto.data_type());
  // A sequence, an optional or a map parses as a tensor too, but these betray it.
  if (dtype == DType::kUndefined || proto.has_segment()) {
    throw BadInput(fmt::format("{}: not a tensor; sequences, optionals and maps are not supported", where));
  }
  if (DTypeSize(dtype) == 0) {
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

class TestData : public SampleSource {
 public:
  TestData(std::filesystem::path folder, std::string label, const std::vector<InputSpec>& inputs)
      : folder_(std::move(folder)), label_(std::move(label)) {
    for (const std::filesystem::path& name : ListFolder(folder_)) {
      if (const auto index = TestDataIndex(name.native())) files_.emplace_back(*index, name);
    }
    for (const InputSpec& input : inputs) names_.push_back(input.name);
  }

  uint64_t size() const override { return 1; }
  std::string Name(uint64_t /*index*/) const override { return label_; }

  Sample Read(uint64_t /*index*/) const override {
    Sample sample{label_, {}};
    for (const auto& [index, name] : files_) {
      ThrowIfInterrupted();
      sample.inputs.push_back(ReadTensor(index, folder_ / name));
    }
    return sample;
  }

 private:
  NamedArray ReadTensor(uint64_t index, const std::filesystem::path& path) const {
    const std::string where = path.string();
    if (!std::filesystem::is_regular_file(path)) throw BadInput(fmt::format("{}: not a regular file", where));
    if (!names_.empty() && index >= names_.size()) {
      throw BadInput(
          fmt::format("{}: is input {}, but the model has {} (counted from 0)", where, index, names_.size()));
    }
    const MappedFile file(path, "test data");
    onnx::TensorProto proto;
    if (file.bytes().size() > INT_MAX ||
        !proto.ParseFromArray(file.bytes().data(), static_cast<int>(file.bytes().size()))) {
      throw BadInput(fmt::format("{}: not a serialized ONNX tensor (TensorProto)", where));
    }
    if (names_.empty() && proto.name().empty()) {
      throw BadInput(
          fmt::format("{}: does not say which input it is for; add a name to the tensor, or use a command "
                      "that reads the model",
                      where));
    }
    return {names_.empty() ? proto.name() : names_[index], ToArray(proto, where)};
  }

  std::filesystem::path folder_;
  std::string label_;
  std::vector<std::pair<uint64_t, std::filesystem::path>> files_;  ///< K and file name, in natural order.
  std::vector<std::string> names_;                                 ///< The model's inputs.
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
