#pragma once

#include "base/json.h"
#include "halfsafe/check.h"

namespace halfsafe {

using Json = nlohmann::ordered_json;

/// JSON has no infinity; null stands for it.
Json NumberOrNull(double value);

/// By what an output is judged, as in docs/formats.md (`judged_by[]`).
Json ToJson(const OutputRule& rule);

/// How one output differs, as in docs/formats.md (`fixed_model.outputs[]`).
Json ToJson(const OutputError& output);

/// The same for all outputs of a model (`fixed_model`).
Json ToJson(const ModelErrors& errors);
/// Null where nothing was tried.
Json ToJson(const std::optional<CpuResult>& result);

Json ToJson(const Tolerance& tolerance);

}  // namespace halfsafe
