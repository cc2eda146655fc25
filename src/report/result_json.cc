#include "report/result_json.h"

#include "report/check_json.h"

namespace halfsafe {
namespace {

Json Overflowing(const std::vector<OverflowRow>& overflowing) {
  Json rows = Json::array();
  for (const OverflowRow& row : overflowing) {
    rows.push_back({{"tensor", row.tensor},
                    {"node", row.node},
                    {"op_type", row.op_type},
                    {"abs_max", NumberOrNull(row.stats.abs_max)},
                    {"abs_max_sample", row.stats.abs_max_sample},
                    {"overflow_count", row.stats.overflow_count},
                    {"nan_count", row.stats.nan_count},
                    {"inf_count", row.stats.inf_count}});
  }
  return rows;
}

/// What the models gave on the GPU; null where they did not run there.
Json Device(const CheckResult& check, const std::optional<CheckResult>& holdout) {
  if (!check.device) return {};
  Json json = {{"fixed_model", ToJson(check.device->fixed)}};
  json["plain_fp16"] = check.device->plain ? ToJson(*check.device->plain) : Json();
  json["holdout"] = holdout && holdout->device ? ToJson(holdout->device->fixed) : Json();
  return json;
}

}  // namespace

Json ResultJson(const Report& report) {
  Json json = {{"format", "halfsafe-result"},
               {"version", 1},
               {"model_sha256", report.model_sha256},
               {"command", report.command},
               {"verdict", report.verdict},
               {"model", report.model_path},
               {"model_bytes", report.model_bytes},
               {"opset", OrNull(report.opset)},
               {"fixed", report.fixed_path},
               {"fixed_bytes", report.fixed_bytes},
               {"samples", report.samples},
               {"threshold", report.threshold},
               {"tensors", report.tensors},
               {"nodes", report.nodes},
               {"half", PrecisionName(report.half)},
               {"casts", report.casts},
               {"fp16_multiply_adds", report.work ? report.work->share : 0.0},
               {"uncounted_operators", report.work ? report.work->uncounted : std::vector<std::string>()},
               {"little_gained", report.little_gained},
               {"seconds", report.seconds}};
  json["skipped"] = Json::array();
  for (const SkippedSample& sample : report.skipped)
    json["skipped"].push_back({{"sample", sample.name}, {"reason", sample.reason}});
  json["tolerance"] = ToJson(report.tolerance);
  json["judged_by"] = Json::array();
  if (report.check) {
    for (const OutputRule& rule : report.check->rules) json["judged_by"].push_back(ToJson(rule));
  }
  json["outputs"] = report.check ? ToJson(report.check->fixed)["outputs"] : Json::array();
  json["fixed_model"] = report.check ? ToJson(report.check->fixed) : Json();
  json["plain_fp16"] = report.check && report.check->plain ? ToJson(*report.check->plain) : Json();
  json["cuda"] = report.check ? Device(*report.check, report.holdout) : Json();
  json["on_cpu"] = report.check ? ToJson(report.check->on_cpu) : Json();
  json["holdout"] = report.holdout ? ToJson(report.holdout->fixed) : Json();
  json["overflowing"] = Overflowing(report.overflowing);
  json["fixed_overflowing"] = report.fixed_overflowing ? Overflowing(*report.fixed_overflowing) : Json();
  for (const auto& [key, nodes] :
       {std::pair{"fp32_nodes", &report.fp32_nodes}, std::pair{"bf16_nodes", &report.bf16_nodes}}) {
    json[key] = Json::array();
    for (const WideNode& node : *nodes) {
      json[key].push_back({{"name", node.name},
                           {"op_type", node.op_type},
                           {"reason", node.reason},
                           {"evidence", node.evidence}});
    }
  }
  json["constants"] = Json::array();
  for (const ConstantPlan& constant : report.constants) {
    auto& entry = json["constants"].emplace_back();
    entry["name"] = constant.name;
    if (constant.clamp) entry["clamp"] = *constant.clamp;
    if (constant.keep_nonzero) entry["keep_nonzero"] = true;
    entry["evidence"] = constant.evidence;
  }
  json["rescaled"] = Json::array();
  for (const TensorPlan& tensor : report.rescaled)
    json["rescaled"].push_back({{"name", tensor.name}, {"exponent", tensor.exponent}});
  json["narrowing"] = {{"nodes", report.narrowing.nodes},
                       {"checks", report.narrowing.checks},
                       {"minimal", report.narrowing.minimal}};
  json["widenings"] = Json::array();
  for (const Widening& step : report.widenings) {
    json["widenings"].push_back(
        {{"nodes", step.nodes}, {"predicted_rel_l2", NumberOrNull(step.predicted_rel_l2)}});
  }
  json["out_of_range_weights"] = report.out_of_range_weights;
  json["partial_sums"] = report.partial_sums;
  json["warnings"] = report.warnings;
  return json;
}

std::string ToJson(const Report& report) { return DumpJson(ResultJson(report)); }

}  // namespace halfsafe
