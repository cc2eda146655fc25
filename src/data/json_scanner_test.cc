#include "data/json_scanner.h"

#include "data/test_support.h"

namespace halfsafe {
namespace {

std::vector<std::string> Elements(const std::string& text) {
  const JsonScanner json(text, "a.json");
  std::vector<std::string> elements;
  json.ForEach(json.Root(), [&](std::string_view value) { elements.emplace_back(value); });
  return elements;
}

std::vector<std::string> Members(const std::string& text) {
  const JsonScanner json(text, "a.json");
  std::vector<std::string> members;
  for (const JsonScanner::Member& member : json.Members(json.Root())) {
    members.push_back(member.key + "=" + std::string(member.value));
  }
  return members;
}

void Root(const std::string& text) { JsonScanner(text, "a.json").Root(); }

TEST(JsonScanner, YieldsValues) {
  using Strings = std::vector<std::string>;
  EXPECT_EQ(Elements(" [ ] "), Strings());
  EXPECT_EQ(Elements("[1, NaN,\"]\",[2,[3]] , {\"a\":\"}\"}]\n"),
            (Strings{"1", "NaN", "\"]\"", "[2,[3]]", "{\"a\":\"}\"}"}));
  EXPECT_EQ(Members("{}"), Strings());
  EXPECT_EQ(Members(R"({"a" : 1, "b\"\\":{"c":[]}, "\u00e9": null})"),
            (Strings{"a=1", "b\"\\={\"c\":[]}", "\xC3\xA9=null"}));
  const std::string text = R"("\\\"x\\")";
  const JsonScanner json(text, "a.json");
  EXPECT_EQ(json.String(json.Root()), "\\\"x\\");
}

TEST(JsonScanner, NamesThePlace) {
  ExpectBad([] { Root("[1, 2"); }, {"a.json", "ends too early (at byte 5)"});
  ExpectBad([] { Root("[1, \"2"); }, {"within a string (at byte 4)"});
  ExpectBad([] { Root("[1, \"2\\\""); }, {"within a string (at byte 4)"});
  ExpectBad([] { Root("[1}"); }, {"closes nothing (at byte 2)"});
  ExpectBad([] { Root("]"); }, {"closes nothing"});
  ExpectBad([] { Root("[] []"); }, {"goes on after its end (at byte 3)"});
  ExpectBad([] { Root(""); }, {"ends too early"});
  ExpectBad([] { Root(std::string("\0", 1)); }, {"lacks a value"});
  ExpectBad([] { Root(","); }, {"lacks a value"});
  ExpectBad([] { Elements("[1 2]"); }, {"','"});
  ExpectBad([] { Elements("[,]"); }, {"lacks a value"});
  ExpectBad([] { Elements("[1,]"); }, {"closes nothing"});
  ExpectBad([] { Members("{1: 2}"); }, {"key that is not a string"});
  ExpectBad([] { Members("{\"a\" 2}"); }, {"':'"});
  ExpectBad([] { Members("{\"a\": 2 \"b\": 3}"); }, {"','"});
  ExpectBad([] { Members("{\"a\": 2, \"a\": 3}"); }, {"'a' comes twice"});
  ExpectBad([] { Members("{\"\\x\": 2}"); }, {"not a valid JSON string"});
  ExpectBad([] { Members("{\"\\ud800\": 2}"); }, {"not a valid JSON string"});
  ExpectBad([] { Members("{\"\xff\": 2}"); }, {"not a valid JSON string"});
}

TEST(JsonScanner, LimitsDepth) {
  Root(std::string(64, '[') + std::string(64, ']'));
  ExpectBad([] { Root(std::string(65, '[') + std::string(65, ']')); }, {"deeper than 64 (at byte 64)"});
  ExpectBad([] { Root(std::string(10000000, '[')); }, {"deeper than 64"});
  std::string objects;
  for (int i = 0; i < 100000; ++i) objects += "{\"a\":";
  ExpectBad([&] { Root(objects); }, {"deeper than 64"});
}

TEST(JsonScanner, TakesLinearTimeForBackslashesAndQuotes) {
  std::string text = "\"";
  for (int i = 0; i < 4000000; ++i) text += "\\\"";
  Root(text + "\"");
  Root("\"" + std::string(20000000, '\\') + "\"");
}

}  // namespace
}  // namespace halfsafe
