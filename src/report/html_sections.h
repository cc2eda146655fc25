#pragma once

#include <string>

#include "report/comparison.h"
#include "report/report.h"
#include "report/report_graph.h"

namespace halfsafe {

// The parts of a page that are plain HTML, read without a script too.

/// The verdict, in words and a mark, and what was run.
std::string VerdictSection(const Report& report);
/// The original, plain FP16 and the fixed model side by side.
std::string ComparisonSection(const Report& report, const Comparison& comparison);
/// What was changed, how and why.
std::string RepairsSection(const Report& report);
/// Tensors, nodes and errors as tables, for browsers without scripts.
std::string PlainTables(const Report& report, const ReportGraphs& graphs);

}  // namespace halfsafe
