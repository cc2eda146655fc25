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

}  // namespace

Json NumberOrNull(double value) { return std::isfinite(value) ? Json(value) : Json(); }

Json ToJson(const OutputError& output) {
  return {{"name", output.name},
          {"dtype", DTypeName(output.dtype)},
          {"right", output.right},
          {"count", output.count},
          {"rel_l2", NumberOrNull(output.rel_l2)},
          {"rel_l2_sample", output.rel_l2_sample},
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

Json ToJson(const Tolerance& tolerance) {
  return {{"rel_l2", tolerance.rel_l2},
          {"max_flips", tolerance.max_flips},
          {"rtol", OrNull(tolerance.rtol)},
          {"atol", OrNull(tolerance.atol)}};
}

}  // namespace halfsafe
