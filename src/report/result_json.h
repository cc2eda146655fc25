#pragma once

#include "base/json.h"
#include "report/report.h"

namespace halfsafe {

/// The report as a halfsafe-result value (docs/formats.md).
nlohmann::ordered_json ResultJson(const Report& report);

}  // namespace halfsafe
