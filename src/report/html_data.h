#pragma once

#include "base/json.h"
#include "report/comparison.h"
#include "report/report.h"
#include "report/report_graph.h"

namespace halfsafe {

/// What the script of a page reads: a halfsafe-report (docs/report.md). Tables are columns, and words that
/// repeat are numbers of a list, so that a model of 100000 tensors makes a page that a browser opens.
nlohmann::ordered_json ReportData(const Report& report, const Comparison& comparison,
                                  const ReportGraphs& graphs);

}  // namespace halfsafe
