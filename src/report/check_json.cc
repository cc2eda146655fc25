#include "report/check_json.h"

#include <cmath>

namespace halfsafe {
namespace {

Json ToJson(const std::optional<FirstNonFinite>& first) {
  if (!first) return nullptr;
  return {{"tensor", first->tensor},
          {"node", first->node},
          {"op_type", first->op_type},
          {"sample", first->sample}};
}

Json ToJson(const std::optional<PartError>& part) {
  if (!part) return nullptr;
  return {{"where", part->where},
          {"error", part->error},
          {"reference", part->reference},
          {"allowed", part->allowed},
          {"sample", part->sample}};
}

}  // namespace

Json ToJson(const OutputRule& rule) {
  Json json = {{"output", rule.output},
               {"axis", rule.axis},
               {"index_axis", rule.index_axis},
               {"origin", rule.origin},
               {"parts", Json::array()}};
  for (const OutputPart& part : rule.parts) {
    Json ranges = Json::array();
    for (const IndexRange& range : part.ranges) ranges.push_back({range.begin, range.end});
    json["parts"].push_back(
        {{"ranges", std::move(ranges)}, {"largest", part.largest}, {"largest_index", part.largest_index}});
  }
  return json;
}

Json NumberOrNull(double value) { return std::isfinite(value) ? Json(value) : Json(); }

Json ToJson(const OutputError& output) {
  return {{"name", output.name},
          {"dtype", DTypeName(output.dtype)},
          {"right", output.right},
          {"count", output.count},
          {"compared", output.compared},
          {"distance", NumberOrNull(output.distance)},
          {"distance_sample", output.distance_sample},
          {"draws", output.draws},
          {"worst_draw", NumberOrNull(output.worst_draw)},
          {"on_edge", output.on_edge},
          {"worst_part", ToJson(output.worst_part)},
          {"rel_l2", NumberOrNull(output.rel_l2)},
          {"max_abs", NumberOrNull(output.max_abs)},
          {"max_rel", NumberOrNull(output.max_rel)},
          {"mean_abs", NumberOrNull(output.mean_abs)},
          {"cosine", NumberOrNull(output.cosine)},
          {"needed_atol", NumberOrNull(output.needed_atol)},
          {"new_nonfinite", output.new_nonfinite},
          {"flips", output.flips},
          {"flip_share", output.flip_share},
          {"problem", output.problem}};
}

Json ToJson(const ModelErrors& errors) {
  Json json = {{"right", errors.right},
               {"failure", errors.failure},
               {"first_inf", ToJson(errors.first_inf)},
               {"first_nan", ToJson(errors.first_nan)},
               {"nonfinite_outputs", errors.nonfinite_outputs},
               {"outputs", Json::array()}};
  for (const OutputError& output : errors.outputs) json["outputs"].push_back(ToJson(output));
  return json;
}

Json ToJson(const std::optional<CpuResult>& result) {
  if (!result) return {};
  return {{"runs", result->runs},
          {"stage", result->stage},
          {"node", result->node},
          {"message", result->message},
          {"runs_at_basic", result->runs_at_basic}};
}

Json ToJson(const Tolerance& tolerance) {
  return {{"rel_l2", tolerance.rel_l2},
          {"max_flips", tolerance.max_flips},
          {"rtol", OrNull(tolerance.rtol)},
          {"atol", OrNull(tolerance.atol)}};
}

}  // namespace halfsafe
