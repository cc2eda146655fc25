#include <fmt/format.h>

#include <algorithm>
#include <numeric>

#include "report/html_sections.h"
#include "report/html_text.h"
#include "report/table.h"

namespace halfsafe {
namespace {

using Row = std::vector<HtmlCell>;

/// Rows of a table without a script: a browser lays out all of them at once.
constexpr size_t kPlainRows = 2000;

std::string MoreRows(size_t all) {
  if (all <= kPlainRows) return "";
  return fmt::format("<p>{} more are not shown here: they are in --json and in the ranges.</p>\n",
                     all - kPlainRows);
}

/// The numbers of those elements that belong into a table, what matters first, each part in its order.
template <typename T, typename Belongs, typename Matters>
std::vector<size_t> Chosen(const std::vector<T>& elements, const Belongs& belongs, const Matters& matters) {
  std::vector<size_t> chosen;
  for (size_t i = 0; i < elements.size(); ++i) {
    if (belongs(elements[i])) chosen.push_back(i);
  }
  std::stable_partition(chosen.begin(), chosen.end(), [&](size_t i) { return matters(elements[i]); });
  return chosen;
}

std::string Tensors(const ReportGraph& graph) {
  const auto chosen = Chosen(
      graph.tensors, [](const ReportTensor& tensor) { return tensor.stats != nullptr; },
      [](const ReportTensor& tensor) { return tensor.overflows; });
  if (chosen.empty()) return "";
  std::vector<Row> rows;
  for (size_t i = 0; i < std::min(kPlainRows, chosen.size()); ++i) {
    const ReportTensor& tensor = graph.tensors[chosen[i]];
    const TensorStats& stats = *tensor.stats;
    const std::string& op =
        tensor.producer < 0 ? "" : graph.nodes[static_cast<size_t>(tensor.producer)].op_type;
    const auto number = [&](double value) { return NumberCell(stats.count == 0 ? "–" : Number(value)); };
    rows.push_back({CodeCell(tensor.name),
                    TextCell(tensor.kind == TensorKind::kConstant ? "(constant)"
                             : op.empty()                         ? "(input)"
                                                                  : op),
                    TextCell(tensor.shape), number(stats.abs_max), number(stats.min), number(stats.max),
                    NumberCell(fmt::format("{}", stats.overflow_count)),
                    NumberCell(fmt::format("{}", stats.inf_count + stats.nan_count)),
                    TextCell(tensor.overflows ? "▲ overflows" : "")});
  }
  return "<h3>Tensors</h3>\n" +
         HtmlTable("Tensors",
                   {"tensor", "operator", "shape", "max |x|", "min", "max", "past 65504", "inf, NaN", ""},
                   rows) +
         MoreRows(chosen.size());
}

std::string Nodes(const ReportGraph& graph) {
  const auto chosen = Chosen(
      graph.nodes, [](const ReportNode&) { return true; },
      [](const ReportNode& node) { return node.precision == "FP32" || node.precision == "BF16"; });
  std::vector<Row> rows;
  for (size_t i = 0; i < std::min(kPlainRows, chosen.size()); ++i) {
    const ReportNode& node = graph.nodes[chosen[i]];
    rows.push_back({CodeCell(node.name), TextCell(node.op_type), TextCell(node.precision),
                    TextCell(node.reason), TextCell(node.evidence)});
  }
  return "<h3>Nodes</h3>\n" +
         HtmlTable("Nodes", {"node", "operator", "precision", "reason", "evidence"}, rows) +
         MoreRows(chosen.size());
}

void AddErrors(const char* model, const ModelErrors& errors, std::vector<Row>* rows) {
  for (const OutputError& output : errors.outputs) {
    for (const SampleError& sample : output.samples) {
      if (rows->size() == kPlainRows) return;
      const bool number = IsFloat(output.dtype);
      rows->push_back({CodeCell(sample.sample), TextCell(output.name), TextCell(model),
                       NumberCell(number ? Number(sample.rel_l2) : fmt::format("{:g}", sample.flip_share)),
                       NumberCell(Number(sample.max_abs)),
                       NumberCell(fmt::format("{}", sample.new_nonfinite)),
                       TextCell(sample.right ? "right" : "NOT RIGHT")});
    }
  }
}

std::string Errors(const Report& report) {
  std::vector<Row> rows;
  if (report.check) AddErrors("fixed", report.check->fixed, &rows);
  if (report.check && report.check->plain) AddErrors("plain FP16", *report.check->plain, &rows);
  if (rows.empty()) return "";
  return "<h3>Errors of the outputs, sample by sample</h3>\n" +
         HtmlTable("Errors of the outputs",
                   {"sample", "output", "model", "relative L2 error, or share that differs", "max |error|",
                    "not finite", ""},
                   rows);
}

}  // namespace

std::string PlainTables(const Report& report, const ReportGraphs& graphs) {
  return "<noscript>\n<section>\n<h2>Tables</h2>\n<p>The charts and the graph need JavaScript, which is off "
         "here.</p>\n" +
         Errors(report) + Tensors(graphs.original) + Nodes(graphs.original) + "</section>\n</noscript>\n";
}

}  // namespace halfsafe
