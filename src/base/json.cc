#include "base/json.h"

#include <fmt/format.h>

#include <limits>

namespace halfsafe {
namespace {

/// Deeper than any file of ours, far from exhausting the parser's stack.
constexpr int kDeepest = 64;

std::string Shortened(const std::string& text, size_t longest) {
  return text.size() <= longest ? text : text.substr(0, longest - 3) + "...";
}

std::string Shown(const nlohmann::json& value) {
  return Shortened(value.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace), 60);
}

}  // namespace

const nlohmann::json* JsonReader::Find(const char* key) const {
  if (!value_.is_object())
    throw BadInput(fmt::format("{}: expected an object, found {}", where_, Shown(value_)));
  const auto found = value_.find(key);
  return found == value_.end() || found->is_null() ? nullptr : &*found;
}

Error JsonReader::Wrong(const char* key, std::string_view expected) const {
  const nlohmann::json* found = Find(key);
  return BadInput(fmt::format("{}: \"{}\" is {}, expected {}", where_, key,
                              found == nullptr ? "missing" : Shown(*found), expected));
}

std::string JsonReader::String(const char* key) const {
  const nlohmann::json* found = Find(key);
  if (found == nullptr || !found->is_string()) throw Wrong(key, "a string");
  return found->get<std::string>();
}

std::string JsonReader::StringOr(const char* key, std::string otherwise) const {
  return Find(key) == nullptr ? std::move(otherwise) : String(key);
}

uint64_t JsonReader::Unsigned(const char* key) const {
  const nlohmann::json* found = Find(key);
  if (found == nullptr || !found->is_number_unsigned()) throw Wrong(key, "a whole number from 0");
  return found->get<uint64_t>();
}

int64_t JsonReader::Integer(const char* key) const {
  const nlohmann::json* found = Find(key);
  if (found == nullptr || !found->is_number_integer()) throw Wrong(key, "a whole number");
  return found->get<int64_t>();
}

std::optional<int> JsonReader::PositiveOr(const char* key) const {
  if (Find(key) == nullptr) return std::nullopt;
  const int64_t value = Integer(key);
  if (value < 1 || value > std::numeric_limits<int>::max()) throw Wrong(key, "a whole number above zero");
  return static_cast<int>(value);
}

double JsonReader::Number(const char* key) const {
  const nlohmann::json* found = Find(key);
  if (found == nullptr || !found->is_number()) throw Wrong(key, "a number");
  return found->get<double>();
}

std::optional<double> JsonReader::NumberOr(const char* key) const {
  if (Find(key) == nullptr) return std::nullopt;
  return Number(key);
}

bool JsonReader::BoolOr(const char* key, bool otherwise) const {
  const nlohmann::json* found = Find(key);
  if (found == nullptr) return otherwise;
  if (!found->is_boolean()) throw Wrong(key, "true or false");
  return found->get<bool>();
}

void JsonReader::RequireArray(const char* key) const {
  const nlohmann::json* found = Find(key);
  if (found == nullptr || !found->is_array()) throw Wrong(key, "a list");
}

void JsonReader::ForEachElement(const char* key, const std::function<void(const JsonReader&)>& visit) const {
  const nlohmann::json* found = Find(key);
  if (found == nullptr) return;
  if (!found->is_array()) throw Wrong(key, "a list");
  for (size_t i = 0; i < found->size(); ++i)
    visit(JsonReader((*found)[i], fmt::format("{}: {}[{}]", where_, key, i)));
}

void JsonReader::ForEachString(const char* key, const std::function<void(const std::string&)>& visit) const {
  const nlohmann::json* found = Find(key);
  if (found == nullptr) return;
  if (!found->is_array()) throw Wrong(key, "a list of strings");
  for (const auto& element : *found) {
    if (!element.is_string()) throw Wrong(key, "a list of strings");
    visit(element.get<std::string>());
  }
}

void JsonReader::ForEachMember(const char* key,
                               const std::function<void(const std::string&, uint64_t)>& visit) const {
  const nlohmann::json* found = Find(key);
  if (found == nullptr) return;
  if (!found->is_object()) throw Wrong(key, "an object");
  for (const auto& [name, value] : found->items()) {
    if (!value.is_number_unsigned()) throw Wrong(key, "counts as values");
    visit(name, value.get<uint64_t>());
  }
}

nlohmann::json ParseJson(std::string_view text, std::string_view where) {
  int depth = 0;
  bool in_string = false;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (in_string) {
      if (c == '\\') ++i;
      if (c == '"') in_string = false;
    } else if (c == '"') {
      in_string = true;
    } else if (c == '{' || c == '[') {
      if (++depth > kDeepest) throw BadInput(fmt::format("{}: nested more than {} deep", where, kDeepest));
    } else if (c == '}' || c == ']') {
      --depth;
    }
  }
  try {
    return nlohmann::json::parse(text);
  } catch (const nlohmann::json::exception& error) {
    // It repeats what was read last, of any length.
    throw BadInput(fmt::format("{} is not JSON, or is truncated: {}", where, Shortened(error.what(), 300)));
  }
}

JsonDocument::JsonDocument(std::string_view text, std::string_view where, std::string_view format,
                           int version)
    : json_(ParseJson(text, where)), reader_(json_, std::string(where)) {
  if (const std::string found = reader_.String("format"); found != format) {
    throw BadInput(fmt::format("{} is a {} file, expected {}", where, found, format));
  }
  if (const int64_t found = reader_.Integer("version"); found != version) {
    throw BadInput(
        fmt::format("{} is {} version {}; this halfsafe reads version {}", where, format, found, version));
  }
}

std::string DumpJson(const nlohmann::ordered_json& json) {
  const auto dump = [](const nlohmann::ordered_json& value) {
    return value.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  };
  std::string text = "{\n";
  bool first = true;
  for (const auto& [key, value] : json.items()) {
    if (!first) text += ",\n";
    first = false;
    text += "  " + dump(key) + ": ";
    if (!value.is_array() || value.empty()) {
      text += dump(value);
      continue;
    }
    text += "[";
    for (size_t i = 0; i < value.size(); ++i) text += (i == 0 ? "\n    " : ",\n    ") + dump(value[i]);
    text += "\n  ]";
  }
  return text + "\n}\n";
}

}  // namespace halfsafe
