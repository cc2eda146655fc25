#include "report/html.h"

#include <filesystem>

#include "halfsafe/version.h"
#include "report/html_data.h"
#include "report/html_sections.h"
#include "report/html_text.h"
#include "report/web_page.h"

namespace halfsafe {
namespace {

/// JSON that a script element may hold: only its strings have this character, and no tag begins without it.
std::string ScriptJson(const nlohmann::ordered_json& json) {
  const std::string text = json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  std::string safe;
  safe.reserve(text.size());
  for (const char c : text) {
    if (c == '<') {
      safe += "\\u003c";
    } else {
      safe += c;
    }
  }
  return safe;
}

}  // namespace

void RequireHtml() { WebPage(); }

std::string ToHtml(const Report& report, GraphSources sources) {
  if (report.check && report.check->fixed_ranges) sources.fixed_ranges = &*report.check->fixed_ranges;
  const ReportGraphs graphs = BuildGraphs(sources);
  const Comparison comparison = Compare(report, graphs, sources);
  return FillPlaces(WebPage(), [&](std::string_view place) -> std::string {
    if (place == "model") return EscapeHtml(std::filesystem::path(report.model_path).filename().string());
    if (place == "command") return EscapeHtml(report.command);
    if (place == "version") return HALFSAFE_VERSION;
    if (place == "verdict") return VerdictSection(report);
    if (place == "comparison") return ComparisonSection(report, comparison);
    if (place == "repairs") return RepairsSection(report);
    if (place == "tables") return PlainTables(report, graphs);
    if (place == "data") return ScriptJson(ReportData(report, comparison, graphs));
    return "";
  });
}

}  // namespace halfsafe
