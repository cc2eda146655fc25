#pragma once

#include <cstdint>
#include <functional>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "halfsafe/error.h"

namespace halfsafe {

/// A JSON object read with checks: every accessor throws BadInput that names the file, the path of the field,
/// what was expected and what was found.
class JsonReader {
 public:
  JsonReader(const nlohmann::json& value, std::string where) : value_(value), where_(std::move(where)) {}

  std::string String(const char* key) const;
  std::string StringOr(const char* key, std::string otherwise) const;  ///< Also for null.
  uint64_t Unsigned(const char* key) const;
  int64_t Integer(const char* key) const;
  std::optional<int> PositiveOr(const char* key) const;  ///< Above zero; nothing when absent or null.
  double Number(const char* key) const;
  std::optional<double> NumberOr(const char* key) const;  ///< Nothing when absent or null.
  bool BoolOr(const char* key, bool otherwise) const;
  /// Throws unless `key` is there and holds a list.
  void RequireArray(const char* key) const;
  /// Every element of the array `key`, each an object. An absent array has no elements.
  void ForEachElement(const char* key, const std::function<void(const JsonReader&)>& visit) const;
  /// Every string of the array `key`. An absent array has none.
  void ForEachString(const char* key, const std::function<void(const std::string&)>& visit) const;
  /// Every member of the object `key`, each an unsigned number. An absent object has no members.
  void ForEachMember(const char* key, const std::function<void(const std::string&, uint64_t)>& visit) const;

  /// The error for a field that holds something else than `expected`.
  Error Wrong(const char* key, std::string_view expected) const;

 private:
  const nlohmann::json* Find(const char* key) const;

  const nlohmann::json& value_;
  std::string where_;
};

/// One of this project's files: {"format": ..., "version": ..., ...}.
class JsonDocument {
 public:
  /// Parses `text`. Throws BadInput when it isn't JSON, is nested too deep, or is another format or version.
  JsonDocument(std::string_view text, std::string_view where, std::string_view format, int version);
  const JsonReader& root() const { return reader_; }

 private:
  nlohmann::json json_;
  JsonReader reader_;
};

/// Parses JSON whose nesting stays below a bound. Throws BadInput that begins with `where`.
nlohmann::json ParseJson(std::string_view text, std::string_view where);

/// The value, or null.
template <typename T>
nlohmann::ordered_json OrNull(const std::optional<T>& value) {
  return value ? nlohmann::ordered_json(*value) : nlohmann::ordered_json();
}

/// One line per element of arrays at the first level, so that files can be read, edited and compared line by
/// line.
std::string DumpJson(const nlohmann::ordered_json& json);

}  // namespace halfsafe
