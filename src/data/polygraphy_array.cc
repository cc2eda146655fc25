#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "data/npy.h"
#include "data/npz.h"
#include "data/polygraphy.h"
#include "halfsafe/error.h"

namespace halfsafe {
namespace {

constexpr std::string_view kClassKey = "polygraphy_class";
constexpr std::string_view kLegacyPrefix = "__polygraphy_encoded_";

/// An array's JSON object, taken apart.
struct Encoded {
  std::string type;          ///< What Polygraphy says it is; empty when it doesn't.
  std::string_view payload;  ///< Value of "array", "tensor" or "values"; empty when there is none.
};

Encoded TakeApart(const JsonScanner& json, std::string_view value) {
  if (!JsonScanner::IsObject(value)) {
    json.Fail(value, fmt::format(
                         "expected an array as Polygraphy writes it ({{\"array\": ..., \"polygraphy_class\": "
                         "\"ndarray\"}}), found {}",
                         JsonScanner::IsList(value) ? "a list" : "a plain value"));
  }
  Encoded encoded;
  for (const JsonScanner::Member& member : json.Members(value)) {
    if (member.key == kClassKey && JsonScanner::IsString(member.value)) {
      encoded.type = json.String(member.value);
    } else if (member.key.starts_with(kLegacyPrefix)) {
      encoded.type = member.key.substr(kLegacyPrefix.size());
    } else if (member.key == "array" || member.key == "tensor" || member.key == "values") {
      encoded.payload = member.value;
    }
  }
  return encoded;
}

/// Undoes Python's latin-1: every code point of the UTF-8 `text` becomes one byte. False when one is too
/// large.
bool Latin1Bytes(std::string_view text, std::string& bytes) {
  bytes.clear();
  bytes.reserve(text.size());
  for (size_t i = 0; i < text.size(); ++i) {
    const auto byte = static_cast<unsigned char>(text[i]);
    if (byte < 0x80) {
      bytes += text[i];
    } else if ((byte == 0xC2 || byte == 0xC3) && i + 1 < text.size()) {
      bytes += static_cast<char>((byte & 3) << 6 | (text[++i] & 0x3f));
    } else {
      return false;
    }
  }
  return true;
}

/// A .npy or .npz as bytes, from a string of base64 or, in old files, of latin-1.
std::string PayloadBytes(const JsonScanner& json, std::string_view value) {
  std::string_view text = value.substr(1, value.size() - 2);
  std::string unescaped;
  if (text.find('\\') != std::string_view::npos || static_cast<unsigned char>(text.substr(0, 1)[0]) >= 0x80) {
    unescaped = json.String(value);
    text = unescaped;
  }
  // Neither of these beginnings can be base64.
  if (text.starts_with("\xC2\x93NUMPY") || text.starts_with("PK\x03\x04")) {
    std::string bytes;
    if (!Latin1Bytes(text, bytes)) json.Fail(value, "the array is neither base64 nor latin-1");
    return bytes;
  }
  return Base64Decode(text, json.where());
}

}  // namespace

Array ParsePolygraphyArray(const JsonScanner& json, std::string_view value) {
  Encoded encoded = TakeApart(json, value);
  // Recorded outputs wrap each array once more.
  if (encoded.type == "LazyArray" || encoded.type == "LazyNumpyArray") {
    if (!JsonScanner::IsObject(encoded.payload)) json.Fail(value, "the LazyArray holds no array");
    encoded = TakeApart(json, encoded.payload);
  }
  if (encoded.type == "Tensor") {
    json.Fail(value,
              "holds a torch tensor, which only PyTorch can read; save it as a numpy array "
              "(tensor.cpu().numpy())");
  }
  if (encoded.type != "ndarray") {
    json.Fail(value, fmt::format("expected \"polygraphy_class\": \"ndarray\", found {}",
                                 encoded.type.empty() ? "none" : encoded.type));
  }
  if (encoded.payload.size() < 3 || !JsonScanner::IsString(encoded.payload)) {
    json.Fail(value, "has no \"array\" that is a string");
  }
  const std::string bytes = PayloadBytes(json, encoded.payload);
  const std::span<const std::byte> span = std::as_bytes(std::span(bytes.data(), bytes.size()));
  if (bytes.starts_with("PK")) return NpzFile(span, json.where()).Read(0);
  return ParseNpy(span, json.where());
}

void WritePolygraphyArray(AtomicFile& file, const Array& array) {
  const std::string npy = NpyBytes(array);
  file.Write(R"({"array": ")");
  file.Write(Base64Encode(std::as_bytes(std::span(npy.data(), npy.size()))));
  file.Write(R"(", "polygraphy_class": "ndarray"})");
}

std::string JsonQuoted(const std::string& text) {
  try {
    return nlohmann::json(text).dump(-1, ' ', true);
  } catch (const nlohmann::json::exception&) {
    throw BadInput("a tensor or runner name is not UTF-8, which JSON needs: " +
                   nlohmann::json(text).dump(-1, ' ', true, nlohmann::json::error_handler_t::replace));
  }
}

}  // namespace halfsafe
