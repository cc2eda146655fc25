#pragma once

#include <cstddef>
#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace halfsafe {

/// Finds its way through a large JSON text without building it in memory: it yields the text of single
/// values, and passes over long strings at the speed of memchr. Values that nobody asks for are checked for
/// strings and brackets only. Every error is BadInput that begins with `where` and names the byte.
class JsonScanner {
 public:
  /// `text` must outlive the scanner and every value it yields. It begins `origin` bytes into the file.
  JsonScanner(std::string_view text, std::string where, size_t origin = 0)
      : text_(text), where_(std::move(where)), origin_(origin) {}
  /// The same text under another name for messages.
  JsonScanner Renamed(std::string where) const { return {text_, std::move(where), origin_}; }
  /// What messages begin with.
  const std::string& where() const { return where_; }

  /// The one value that the whole text is. Refuses text that is cut short, unbalanced or nested deeper
  /// than 64.
  std::string_view Root() const;

  /// Whether `value` is an object, a list, a string.
  static bool IsObject(std::string_view value) { return value.starts_with('{'); }
  static bool IsList(std::string_view value) { return value.starts_with('['); }
  static bool IsString(std::string_view value) { return value.starts_with('"'); }

  /// A member of an object.
  struct Member {
    std::string key;
    std::string_view value;
  };

  /// Calls `visit` with each element of a list. `value` must come from this scanner.
  void ForEach(std::string_view list, const std::function<void(std::string_view)>& visit) const;
  /// The members of an object. `value` must come from this scanner. Refuses a key that comes twice.
  std::vector<Member> Members(std::string_view object) const;

  /// What a string says, UTF-8.
  std::string String(std::string_view value) const;

  /// Throws BadInput: "where: what (at byte N)".
  [[noreturn]] void Fail(std::string_view at, std::string_view what) const;

 private:
  /// Both move `at` past what they read.
  std::string_view Value(size_t& at) const;
  std::string_view StringToken(size_t& at) const;
  void SkipSpace(size_t& at) const;
  /// The character at `at` after white space, '\0' at the end.
  char Peek(size_t& at) const;
  size_t Offset(std::string_view value) const { return static_cast<size_t>(value.data() - text_.data()); }

  std::string_view text_;
  std::string where_;
  size_t origin_;
};

}  // namespace halfsafe
