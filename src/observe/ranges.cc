#include "halfsafe/ranges.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <nlohmann/json.hpp>
#include <unordered_set>

#include "base/json.h"
#include "base/text.h"
#include "halfsafe/error.h"
#include "observe/ranges_json.h"

namespace halfsafe {
namespace {

constexpr char kFormat[] = "halfsafe-ranges";
constexpr int kVersion = 1;

nlohmann::ordered_json ToJson(const TensorStats& stats) {
  const auto known = [&](double value) {
    return stats.count > 0 ? nlohmann::ordered_json(value) : nlohmann::ordered_json();
  };
  auto json = nlohmann::ordered_json::object();
  json["name"] = stats.name;
  json["dtype"] = DTypeName(stats.dtype);
  if (stats.constant) json["constant"] = true;
  json["count"] = stats.count;
  json["min"] = known(stats.min);
  json["max"] = known(stats.max);
  json["abs_max"] = known(stats.abs_max);
  json["abs_max_sample"] =
      stats.abs_max_sample.empty() ? nlohmann::ordered_json() : nlohmann::ordered_json(stats.abs_max_sample);
  json["nan_count"] = stats.nan_count;
  json["inf_count"] = stats.inf_count;
  json["overflow_count"] = stats.overflow_count;
  json["subnormal_count"] = stats.subnormal_count;
  json["exponents"] = nlohmann::ordered_json::object();
  for (const auto& [power, count] : stats.exponents) json["exponents"][std::to_string(power)] = count;
  json["abs_sum"] = known(stats.abs_sum);
  json["sum_bound"] = stats.sum_bound ? nlohmann::ordered_json(*stats.sum_bound) : nlohmann::ordered_json();
  if (stats.row_max_min) json["row_max_min"] = *stats.row_max_min;
  return json;
}

TensorStats StatsFromJson(const JsonReader& json) {
  TensorStats stats;
  stats.name = json.String("name");
  stats.dtype = DTypeFromName(json.String("dtype"));
  if (!IsFloat(stats.dtype)) throw json.Wrong("dtype", "a floating-point type");
  stats.constant = json.BoolOr("constant", false);
  stats.count = json.Unsigned("count");
  stats.nan_count = json.Unsigned("nan_count");
  stats.inf_count = json.Unsigned("inf_count");
  stats.overflow_count = json.Unsigned("overflow_count");
  stats.subnormal_count = json.Unsigned("subnormal_count");
  stats.abs_max_sample = json.StringOr("abs_max_sample", "");
  if (stats.count > 0) {
    stats.min = json.Number("min");
    stats.max = json.Number("max");
    stats.abs_max = json.Number("abs_max");
    stats.abs_sum = json.NumberOr("abs_sum").value_or(0.0);
  }
  stats.sum_bound = json.NumberOr("sum_bound");
  stats.row_max_min = json.NumberOr("row_max_min");
  json.ForEachMember("exponents", [&](const std::string& power, uint64_t count) {
    int value = 0;
    const char* end = power.data() + power.size();
    const auto parsed = std::from_chars(power.data(), end, value);
    if (parsed.ec != std::errc() || parsed.ptr != end || value < -1100 || value > 1100)
      throw json.Wrong("exponents", "powers of two as keys");
    stats.exponents[value] = count;
  });
  return stats;
}

}  // namespace

uint64_t TensorStats::VanishingCount(int exponent) const {
  uint64_t total = 0;
  for (const auto& [power, values] : exponents) {
    if (power - exponent < -25) total += values;
  }
  return total;
}

void TensorStats::Merge(const TensorStats& other) {
  if (other.count > 0) {
    min = count == 0 ? other.min : std::min(min, other.min);
    max = count == 0 ? other.max : std::max(max, other.max);
    const bool larger = count == 0 || other.abs_max > abs_max;
    if (larger || (other.abs_max == abs_max && other.abs_max_sample < abs_max_sample))
      abs_max_sample = other.abs_max_sample;
    abs_max = larger ? other.abs_max : abs_max;
  }
  // A weight is the same in every scan: counting it twice would say that it grew.
  if (!constant) {
    count += other.count;
    nan_count += other.nan_count;
    inf_count += other.inf_count;
    overflow_count += other.overflow_count;
    subnormal_count += other.subnormal_count;
    for (const auto& [power, values] : other.exponents) exponents[power] += values;
  }
  abs_sum = std::max(abs_sum, other.abs_sum);
  if (other.sum_bound) sum_bound = sum_bound ? std::max(*sum_bound, *other.sum_bound) : *other.sum_bound;
  if (other.row_max_min)
    row_max_min = row_max_min ? std::min(*row_max_min, *other.row_max_min) : *other.row_max_min;
}

const TensorStats* RangeTable::Find(std::string_view name) const {
  if (by_name_.size() != tensors.size()) {
    by_name_.clear();
    for (size_t i = 0; i < tensors.size(); ++i) by_name_[tensors[i].name] = i;
  }
  const auto found = by_name_.find(std::string(name));
  return found == by_name_.end() ? nullptr : &tensors[found->second];
}

RangeTable MergeRanges(const std::vector<RangeTable>& tables) {
  if (tables.empty()) throw BadUsage("nothing to merge");
  RangeTable merged = tables.front();
  for (size_t i = 1; i < tables.size(); ++i) {
    const RangeTable& table = tables[i];
    if (table.model_sha256 != merged.model_sha256) {
      throw BadInput(fmt::format("ranges {} are of another model: SHA-256 {}, the first are of {}", i + 1,
                                 table.model_sha256, merged.model_sha256));
    }
    if (table.opset != merged.opset) {
      throw BadInput(fmt::format("ranges {} are of the model at {}, the first of it at {}", i + 1,
                                 OpsetText(table.opset), OpsetText(merged.opset)));
    }
    if (table.lift_clamps != merged.lift_clamps) {
      throw BadInput(
          fmt::format("ranges {} are of the model {} its clamps at FP16's limits, the first are not", i + 1,
                      table.lift_clamps ? "without" : "with"));
    }
    merged.samples += table.samples;
    merged.skipped.insert(merged.skipped.end(), table.skipped.begin(), table.skipped.end());
    std::unordered_map<std::string, size_t> position;
    for (size_t k = 0; k < merged.tensors.size(); ++k) position[merged.tensors[k].name] = k;
    for (const TensorStats& stats : table.tensors) {
      const auto found = position.find(stats.name);
      if (found == position.end()) {
        merged.tensors.push_back(stats);
      } else {
        merged.tensors[found->second].Merge(stats);
      }
    }
  }
  std::ranges::sort(merged.skipped, {}, &SkippedSample::name);
  return merged;
}

nlohmann::ordered_json RangesJson(const RangeTable& ranges) {
  nlohmann::ordered_json json = {{"format", kFormat},
                                 {"version", kVersion},
                                 {"model_sha256", ranges.model_sha256},
                                 {"opset", OrNull(ranges.opset)},
                                 {"samples", ranges.samples}};
  if (ranges.lift_clamps) json["lift_clamps"] = true;
  json["skipped"] = nlohmann::ordered_json::array();
  for (const SkippedSample& sample : ranges.skipped)
    json["skipped"].push_back({{"sample", sample.name}, {"reason", sample.reason}});
  json["tensors"] = nlohmann::ordered_json::array();
  for (const TensorStats& stats : ranges.tensors) json["tensors"].push_back(ToJson(stats));
  return json;
}

std::string ToJson(const RangeTable& ranges) { return DumpJson(RangesJson(ranges)); }

RangeTable RangesFromJson(std::string_view text, std::string_view where) {
  const JsonDocument document(text, where, kFormat, kVersion);
  RangeTable ranges;
  ranges.model_sha256 = document.root().String("model_sha256");
  ranges.opset = document.root().PositiveOr("opset");
  ranges.lift_clamps = document.root().BoolOr("lift_clamps", false);
  ranges.samples = document.root().Unsigned("samples");
  document.root().ForEachElement("skipped", [&](const JsonReader& json) {
    ranges.skipped.push_back({json.String("sample"), json.String("reason")});
  });
  std::unordered_set<std::string> names;
  document.root().RequireArray("tensors");
  document.root().ForEachElement("tensors", [&](const JsonReader& json) {
    ranges.tensors.push_back(StatsFromJson(json));
    if (!names.insert(ranges.tensors.back().name).second)
      throw json.Wrong("name", "a name that no other tensor has");
  });
  return ranges;
}

}  // namespace halfsafe
