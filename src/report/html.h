#pragma once

#include <string>

#include "report/comparison.h"
#include "report/report.h"
#include "report/report_graph.h"

namespace halfsafe {

/// The report as one file for a browser that needs nothing else: what it says in plain HTML, and the data and
/// the script that draw it. The fixed model's ranges are those of the report's check. Throws
/// Error(kUnavailable) in a build without the page.
std::string ToHtml(const Report& report, GraphSources sources);

/// Throws Error(kUnavailable) in a build without the page: worth knowing before a long scan.
void RequireHtml();

}  // namespace halfsafe
