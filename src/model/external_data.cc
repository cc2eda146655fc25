#include "model/external_data.h"

#include <fmt/format.h>

#include <charconv>

#include "halfsafe/error.h"

namespace halfsafe {
namespace {

/// Entries of ours, which no file has.
constexpr char kExponent[] = "halfsafe.exponent", kClamp[] = "halfsafe.clamp",
               kKeepNonzero[] = "halfsafe.keep_nonzero", kFrom[] = "halfsafe.from";

template <typename Number>
Number Parse(const onnx::TensorProto& tensor, const onnx::StringStringEntryProto& entry) {
  Number value{};
  const std::string& text = entry.value();
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) {
    throw BadInput(fmt::format("initializer {}: external data has {} '{}', expected a number", tensor.name(),
                               entry.key(), text));
  }
  return value;
}

}  // namespace

bool IsExternal(const onnx::TensorProto& tensor) {
  return tensor.data_location() == onnx::TensorProto_DataLocation_EXTERNAL;
}

ExternalReference ReadReference(const onnx::TensorProto& tensor) {
  ExternalReference reference;
  for (const auto& entry : tensor.external_data()) {
    if (entry.key() == "location") reference.location = entry.value();
    if (entry.key() == "offset") reference.offset = Parse<uint64_t>(tensor, entry);
    if (entry.key() == "length") reference.length = Parse<uint64_t>(tensor, entry);
    if (!entry.key().starts_with("halfsafe.")) continue;
    if (!reference.conversion) {
      reference.conversion.emplace();
      reference.conversion->dtype = static_cast<DType>(tensor.data_type());
    }
    if (entry.key() == kExponent) reference.conversion->exponent = Parse<int>(tensor, entry);
    if (entry.key() == kClamp) reference.conversion->clamp = Parse<double>(tensor, entry);
    if (entry.key() == kKeepNonzero) reference.conversion->keep_nonzero = true;
    if (entry.key() == kFrom) reference.conversion->from = static_cast<DType>(Parse<int>(tensor, entry));
  }
  return reference;
}

void PutInside(std::span<const std::byte> raw, onnx::TensorProto* tensor) {
  tensor->clear_external_data();
  tensor->clear_data_location();
  tensor->set_raw_data(raw.data(), raw.size());
}

void WriteReference(const ExternalReference& reference, onnx::TensorProto* tensor) {
  tensor->clear_raw_data();
  tensor->clear_float_data();
  tensor->clear_int32_data();
  tensor->clear_external_data();
  tensor->set_data_location(onnx::TensorProto_DataLocation_EXTERNAL);
  const auto add = [&](const char* key, const std::string& value) {
    auto* entry = tensor->add_external_data();
    entry->set_key(key);
    entry->set_value(value);
  };
  add("location", reference.location);
  add("offset", std::to_string(reference.offset));
  if (reference.length) add("length", std::to_string(*reference.length));
  if (!reference.conversion) return;
  tensor->set_data_type(static_cast<int>(reference.conversion->dtype));
  add(kExponent, std::to_string(reference.conversion->exponent));
  if (reference.conversion->clamp) add(kClamp, fmt::format("{}", *reference.conversion->clamp));
  if (reference.conversion->keep_nonzero) add(kKeepNonzero, "1");
  add(kFrom, std::to_string(static_cast<int>(reference.conversion->from)));
}

}  // namespace halfsafe
