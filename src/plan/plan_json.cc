#include <fmt/format.h>

#include "base/json.h"
#include "halfsafe/plan.h"

namespace halfsafe {
namespace {

constexpr char kPlanFormat[] = "halfsafe-plan";
constexpr int kPlanVersion = 1;

Precision PrecisionFrom(const JsonReader& json, const char* key) {
  const std::string name = json.String(key);
  for (const Precision precision : {Precision::kFp16, Precision::kBf16, Precision::kFp32}) {
    if (name == PrecisionName(precision)) return precision;
  }
  throw json.Wrong(key, "\"fp16\", \"bf16\" or \"fp32\"");
}

}  // namespace

std::string ToJson(const Plan& plan) {
  nlohmann::ordered_json json = {{"format", kPlanFormat},
                                 {"version", kPlanVersion},
                                 {"model_sha256", plan.model_sha256},
                                 {"opset", OrNull(plan.opset)},
                                 {"half", PrecisionName(plan.half)}};
  if (plan.lift_clamps) json["lift_clamps"] = true;
  json["nodes"] = nlohmann::ordered_json::array();
  for (const NodePlan& node : plan.nodes) {
    json["nodes"].push_back({{"name", node.name},
                             {"precision", PrecisionName(node.precision)},
                             {"reason", node.reason},
                             {"evidence", node.evidence}});
  }
  json["tensors"] = nlohmann::ordered_json::array();
  for (const TensorPlan& tensor : plan.tensors)
    json["tensors"].push_back({{"name", tensor.name}, {"exponent", tensor.exponent}});
  json["constants"] = nlohmann::ordered_json::array();
  for (const ConstantPlan& constant : plan.constants) {
    auto& entry = json["constants"].emplace_back();
    entry["name"] = constant.name;
    if (constant.clamp) entry["clamp"] = *constant.clamp;
    if (constant.keep_nonzero) entry["keep_nonzero"] = true;
    entry["reason"] = constant.reason;
    entry["evidence"] = constant.evidence;
  }
  json["io"] = nlohmann::ordered_json::array();
  for (const IoPlan& io : plan.io)
    json["io"].push_back({{"name", io.name}, {"precision", PrecisionName(io.precision)}});
  json["warnings"] = plan.warnings;
  return DumpJson(json);
}

Plan PlanFromJson(std::string_view text, std::string_view where) {
  const JsonDocument document(text, where, kPlanFormat, kPlanVersion);
  const JsonReader& root = document.root();
  Plan plan;
  plan.model_sha256 = root.String("model_sha256");
  plan.opset = root.PositiveOr("opset");
  plan.lift_clamps = root.BoolOr("lift_clamps", false);
  const std::string half = root.StringOr("half", "fp16");
  if (half != "fp16" && half != "bf16") throw root.Wrong("half", "\"fp16\" or \"bf16\"");
  if (half == "bf16") plan.half = Precision::kBf16;
  root.RequireArray("nodes");
  root.ForEachElement("nodes", [&](const JsonReader& json) {
    plan.nodes.push_back({json.String("name"), PrecisionFrom(json, "precision"), json.StringOr("reason", ""),
                          json.StringOr("evidence", "")});
  });
  root.ForEachElement("tensors", [&](const JsonReader& json) {
    const int64_t exponent = json.Integer("exponent");
    if (exponent < -126 || exponent > 126) throw json.Wrong("exponent", "a whole number from -126 to 126");
    plan.tensors.push_back({json.String("name"), static_cast<int>(exponent)});
  });
  root.ForEachElement("constants", [&](const JsonReader& json) {
    ConstantPlan constant{json.String("name"), json.NumberOr("clamp"), json.BoolOr("keep_nonzero", false),
                          json.StringOr("reason", ""), json.StringOr("evidence", "")};
    const bool clamps = constant.clamp && *constant.clamp > 0.0;
    if (!clamps && (constant.clamp || !constant.keep_nonzero))
      throw json.Wrong("clamp", "a number above zero, or \"keep_nonzero\": true in its place");
    plan.constants.push_back(std::move(constant));
  });
  root.ForEachElement("io", [&](const JsonReader& json) {
    plan.io.push_back({json.String("name"), PrecisionFrom(json, "precision")});
  });
  root.ForEachString("warnings", [&](const std::string& warning) { plan.warnings.push_back(warning); });
  return plan;
}

}  // namespace halfsafe
