#include "base/json.h"
#include "halfsafe/plan.h"

namespace halfsafe {
namespace {

double Positive(const JsonReader& json, const char* key, std::optional<double> value) {
  if (!value || !(*value > 0.0)) throw json.Wrong(key, "a number above zero");
  return *value;
}

double Latency(const JsonReader& json, const char* key) {
  const double value = json.Number(key);
  if (!(value >= 0.0)) throw json.Wrong(key, "microseconds, at least 0");
  return value;
}

constexpr char kLatenciesFormat[] = "halfsafe-latencies";
constexpr int kLatenciesVersion = 1;

}  // namespace

std::string ToJson(const Latencies& table) {
  nlohmann::ordered_json json = {{"format", kLatenciesFormat},
                                 {"version", kLatenciesVersion},
                                 {"model_sha256", table.model_sha256},
                                 {"batch", table.batch}};
  if (table.cast_us) json["cast_us"] = *table.cast_us;
  if (table.bytes_per_us) json["bytes_per_us"] = *table.bytes_per_us;
  json["nodes"] = nlohmann::ordered_json::array();
  for (const NodeLatency& node : table.nodes) {
    auto& entry = json["nodes"].emplace_back();
    entry["name"] = node.name;
    entry["fp16_us"] = node.fp16_us;
    entry["fp32_us"] = node.fp32_us;
    if (node.bf16_us) entry["bf16_us"] = *node.bf16_us;
  }
  return DumpJson(json);
}

Latencies LatenciesFromJson(std::string_view text, std::string_view where) {
  const JsonDocument document(text, where, kLatenciesFormat, kLatenciesVersion);
  const JsonReader& root = document.root();
  Latencies table;
  table.model_sha256 = root.String("model_sha256");
  if (const auto batch = root.NumberOr("batch")) table.batch = Positive(root, "batch", batch);
  if (root.NumberOr("cast_us")) table.cast_us = Latency(root, "cast_us");
  if (const auto speed = root.NumberOr("bytes_per_us"))
    table.bytes_per_us = Positive(root, "bytes_per_us", speed);
  root.RequireArray("nodes");
  root.ForEachElement("nodes", [&](const JsonReader& json) {
    NodeLatency latency{json.String("name"), Latency(json, "fp16_us"), Latency(json, "fp32_us"), {}};
    if (json.NumberOr("bf16_us")) latency.bf16_us = Latency(json, "bf16_us");
    table.nodes.push_back(std::move(latency));
  });
  return table;
}

}  // namespace halfsafe
