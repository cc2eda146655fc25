#include "data/json_scanner.h"

#include <fmt/format.h>

#include <cstring>
#include <nlohmann/json.hpp>
#include <unordered_set>

#include "halfsafe/error.h"
#include "halfsafe/progress.h"

namespace halfsafe {
namespace {

/// Polygraphy's files nest 9 deep.
constexpr size_t kMaxDepth = 64;

bool IsSpace(char c) { return c == ' ' || c == '\n' || c == '\t' || c == '\r'; }

/// Characters that end a number or a word.
bool EndsWord(char c) { return IsSpace(c) || std::strchr(",:[]{}\"", c) != nullptr; }

}  // namespace

void JsonScanner::Fail(std::string_view at, std::string_view what) const {
  throw BadInput(fmt::format("{}: {} (at byte {})", where_, what, origin_ + Offset(at)));
}

void JsonScanner::SkipSpace(size_t& at) const {
  while (at < text_.size() && IsSpace(text_[at])) ++at;
}

char JsonScanner::Peek(size_t& at) const {
  SkipSpace(at);
  return at < text_.size() ? text_[at] : '\0';
}

std::string_view JsonScanner::StringToken(size_t& at) const {
  const size_t begin = at;
  size_t next = begin + 1;
  while (true) {
    const void* found =
        next < text_.size() ? std::memchr(text_.data() + next, '"', text_.size() - next) : nullptr;
    if (found == nullptr) Fail(text_.substr(begin), "the JSON ends within a string");
    const auto quote = static_cast<size_t>(static_cast<const char*>(found) - text_.data());
    // An odd number of backslashes makes the quote part of the string.
    size_t backslashes = 0;
    while (text_[quote - 1 - backslashes] == '\\') ++backslashes;
    next = quote + 1;
    if (backslashes % 2 == 0) break;
  }
  at = next;
  return text_.substr(begin, at - begin);
}

std::string_view JsonScanner::Value(size_t& at) const {
  char c = Peek(at);
  const size_t begin = at;
  if (c == '"') return StringToken(at);
  char open[kMaxDepth];  // The brackets around `at`.
  size_t depth = 0;
  do {
    c = Peek(at);
    if (at >= text_.size()) Fail(text_.substr(at), "the JSON ends too early");
    if (c == '"') {
      StringToken(at);
      ThrowIfInterrupted();
    } else if (c == '{' || c == '[') {
      if (depth == kMaxDepth) Fail(text_.substr(at), fmt::format("JSON nested deeper than {}", kMaxDepth));
      open[depth++] = c;
      ++at;
    } else if (c == '}' || c == ']') {
      if (depth == 0 || open[depth - 1] != (c == '}' ? '{' : '[')) {
        Fail(text_.substr(at), fmt::format("the JSON has a '{}' that closes nothing", c));
      }
      --depth;
      ++at;
    } else if (depth > 0 && (c == ',' || c == ':')) {
      ++at;
    } else {
      const size_t word = at;
      while (at < text_.size() && !EndsWord(text_[at])) ++at;
      if (at == word) Fail(text_.substr(at), "the JSON lacks a value");
    }
  } while (depth > 0);
  return text_.substr(begin, at - begin);
}

std::string_view JsonScanner::Root() const {
  size_t at = 0;
  const std::string_view value = Value(at);
  SkipSpace(at);
  if (at != text_.size()) Fail(text_.substr(at), "the JSON goes on after its end");
  return value;
}

void JsonScanner::ForEach(std::string_view list, const std::function<void(std::string_view)>& visit) const {
  size_t at = Offset(list) + 1;
  if (Peek(at) == ']') return;
  while (true) {
    visit(Value(at));
    const char c = Peek(at);
    if (c == ']') return;
    if (c != ',') Fail(text_.substr(at), "the JSON has a list without a ',' between values");
    ++at;
  }
}

std::vector<JsonScanner::Member> JsonScanner::Members(std::string_view object) const {
  std::vector<Member> members;
  std::unordered_set<std::string> keys;
  size_t at = Offset(object) + 1;
  if (Peek(at) == '}') return members;
  while (true) {
    if (Peek(at) != '"') Fail(text_.substr(at), "the JSON has an object with a key that is not a string");
    const std::string_view token = StringToken(at);
    std::string key = String(token);
    if (!keys.insert(key).second) Fail(token, fmt::format("the name '{}' comes twice", key));
    if (Peek(at) != ':') Fail(text_.substr(at), "the JSON has a key without a ':'");
    ++at;
    members.push_back({std::move(key), Value(at)});
    const char c = Peek(at);
    if (c == '}') return members;
    if (c != ',') Fail(text_.substr(at), "the JSON has an object without a ',' between members");
    ++at;
  }
}

std::string JsonScanner::String(std::string_view value) const {
  try {
    return nlohmann::json::parse(value).get<std::string>();
  } catch (const nlohmann::json::exception&) {
    // The parser's own message would repeat a payload of any length.
    Fail(value, "not a valid JSON string (bad escape, control character or UTF-8)");
  }
}

}  // namespace halfsafe
