#include "report/html_sections.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "base/text.h"
#include "report/html_text.h"
#include "report/table.h"

namespace halfsafe {
namespace {

using Row = std::vector<HtmlCell>;

/// Rows of a list in the text of the page; the tables that the script draws have all.
constexpr size_t kListed = 200;

std::string Power(int exponent) { return fmt::format("2<sup>{}</sup>", exponent); }

/// A list that opens on a click.
std::string Details(const std::string& summary, const std::string& html) {
  return "<details><summary>" + EscapeHtml(summary) + "</summary>" + html + "</details>\n";
}

std::string More(size_t all, size_t listed) {
  return all <= listed
             ? ""
             : fmt::format("<p>… and {} more, in the tables below and in --json.</p>\n", all - listed);
}

struct VerdictWords {
  const char* kind;  ///< Class of the section.
  const char* mark;  ///< Beside the word, for those who don't see its colour.
  const char* word;
  const char* sentence;
};

VerdictWords WordsOf(const Report& report) {
  if (report.verdict == "right")
    return {"right", "✓", "Right", "The fixed model agrees with FP32 on every sample."};
  if (report.verdict == "little-gained")
    return {"fair", "△", "Right, little gained",
            "The fixed model agrees with FP32, and gains little from its 16 bits."};
  if (report.verdict == "not-right")
    return {"wrong", "✗", "Not right", "The fixed model is outside the tolerance on some sample."};
  const auto any = [&report](const auto& what) {
    return std::any_of(report.overflowing.begin(), report.overflowing.end(),
                       [&](const OverflowRow& row) { return what(row.stats); });
  };
  if (any([](const TensorStats& stats) { return stats.overflow_count > 0; }))
    return {"overflows", "▲", "Overflows", "Values pass what FP16 can hold. No check was run."};
  if (any([](const TensorStats& stats) { return stats.inf_count + stats.nan_count > 0; }))
    return {"overflows", "▲", "Not finite", "Values are infinite or NaN in FP32 already. No check was run."};
  if (!report.overflowing.empty())
    return {"overflows", "▲", "Near the limit", "Values come close to what FP16 can hold. No check was run."};
  return {"unknown", "–", "In range", "No value passes the threshold. No check was run."};
}

std::string ToleranceText(const Tolerance& tolerance) {
  std::string text = fmt::format("relative L2 error up to {:g}", tolerance.rel_l2);
  if (tolerance.rtol || tolerance.atol)
    text += fmt::format(", |y − ref| ≤ {:g} + {:g} |ref|", tolerance.atol.value_or(0.0),
                        tolerance.rtol.value_or(0.0));
  if (tolerance.max_flips > 0.0)
    text += fmt::format(", a share of {:g} of integers may differ", tolerance.max_flips);
  return text;
}

std::string Fact(std::string_view name, const std::string& html) {
  return fmt::format("<div><dt>{}</dt><dd>{}</dd></div>\n", name, html);
}

std::string Share(double share) { return fmt::format("{:.1f}%", 100.0 * share); }

/// A line of the comparison: what it says of one model, "–" where that is not known.
struct ComparisonLine {
  const char* name;
  const char* title;  ///< What it means.
  std::string (*text)(const ModelSummary&);
};

template <typename T>
std::string OrDash(const std::optional<T>& value, std::string (*text)(T)) {
  return value ? text(*value) : "–";
}
std::string CountText(uint64_t count) { return fmt::format("{}", count); }

const ComparisonLine kLines[] = {
    {"Overflowing tensors", "Tensors with values past what their type holds",
     [](const ModelSummary& model) { return OrDash<uint64_t>(model.overflowing, &CountText); }},
    {"Non-finite outputs", "Outputs with infinities or NaN where FP32 has none",
     [](const ModelSummary& model) {
       return model.runs ? OrDash<uint64_t>(model.nonfinite, &CountText) : std::string("does not run");
     }},
    {"Worst error", "Relative L2 error of an output against FP32, the worst of all samples",
     [](const ModelSummary& model) { return OrDash<double>(model.worst_rel_l2, &Number); }},
    {"Changed integers", "Largest share of an integer or bool output's elements that differ from FP32's",
     [](const ModelSummary& model) { return OrDash<double>(model.worst_flips, &Share); }},
    {"Size", "Of the file, weights included",
     [](const ModelSummary& model) { return OrDash<uint64_t>(model.bytes, &ByteText); }},
    {"Casts", "Cast nodes",
     [](const ModelSummary& model) { return OrDash<uint64_t>(model.casts, &CountText); }},
    {"FP16 multiply-adds", "Share of the multiply-adds of Conv, Gemm, MatMul and the like that are FP16",
     [](const ModelSummary& model) { return model.work ? Share(model.work->share) : "–"; }},
};

/// What a reader has to know of a reason, as in docs/rules.md.
constexpr std::pair<std::string_view, std::string_view> kReasons[] = {
    {"user", "you asked for it with --keep or --keep-op"},
    {"no-half-type", "the operator has no 16-bit form in this opset"},
    {"index-arithmetic", "it computes sizes or positions, which rounding would change"},
    {"overflow", "a tensor that it reads or writes passes FP16's range, and no power of two brings it in"},
    {"not-observed", "no sample showed what it does"},
    {"partial-sums", "a sum on the way to the result may pass 65504"},
    {"weight-out-of-range", "a weight that it reads passes 65504"},
    {"folded-weight-out-of-range", "its weights pass 65504 once an engine folds them together"},
    {"constant-vanishes", "FP16 makes a constant that it reads zero altogether"},
    {"pole-vanishes", "values become zero in FP16 that it divides by or takes the logarithm of"},
    {"error", "rounding around it moved the outputs most, and the check failed without it in FP32"},
    {"does-not-load", "ONNX Runtime's CPU provider can't load or run it in 16 bits"},
    {"as-in-file", "the file, which is right as it is, has it in this type"},
    {"cheaper-than-casts", "nothing speaks against FP16, but Casts around it would cost more than it saves"},
};

std::string_view ReasonText(std::string_view reason) {
  const auto found = std::find_if(std::begin(kReasons), std::end(kReasons),
                                  [reason](const auto& row) { return row.first == reason; });
  return found == std::end(kReasons) ? "" : found->second;
}

std::string FirstText(const char* model, const char* what, const std::optional<FirstNonFinite>& first) {
  if (!first) return "";
  return fmt::format("<li>{}: first {} in sample {}<br>tensor {}<br>made by {} ({})</li>\n", model, what,
                     CodeHtml(first->sample), CodeHtml(first->tensor), CodeHtml(first->node),
                     EscapeHtml(first->op_type));
}

std::string FailureText(const char* model, const ModelErrors& errors) {
  std::string html =
      FirstText(model, "infinity", errors.first_inf) + FirstText(model, "NaN", errors.first_nan);
  if (!errors.failure.empty())
    html += fmt::format("<li>{} does not run: {}</li>\n", model, EscapeHtml(errors.failure));
  return html;
}

/// Where each model stops being finite, as items of a list.
std::string FirstPlaces(const Report& report) {
  if (!report.check) return "";
  const CheckResult& check = *report.check;
  std::string html = check.plain ? FailureText("Plain FP16", *check.plain) : "";
  html += FailureText("Fixed", check.fixed);
  if (!check.device) return html;
  if (check.device->plain) html += FailureText("Plain FP16 on the GPU", *check.device->plain);
  return html + FailureText("Fixed on the GPU", check.device->fixed);
}

std::string Rescaled(const Report& report) {
  if (report.rescaled.empty()) return "";
  std::string html = fmt::format(
      "<h3>{} stored times a power of two</h3>\n<p>Weights and attributes take the factor up, or a "
      "multiplication is "
      "added. Powers of two round nothing: results in FP32 stay what they are, to the bit, and the tensors "
      "stay in "
      "FP16.</p>\n",
      Counted(report.rescaled.size(), "tensor"));
  std::vector<TensorPlan> tensors = report.rescaled;
  std::stable_sort(tensors.begin(), tensors.end(), [](const TensorPlan& a, const TensorPlan& b) {
    return std::abs(a.exponent) > std::abs(b.exponent);
  });
  std::vector<Row> rows;
  for (size_t i = 0; i < std::min(kListed, tensors.size()); ++i)
    rows.push_back({CodeCell(tensors[i].name), NumberCell(Power(-tensors[i].exponent))});
  return html + Details("Tensors and their factors",
                        HtmlTable("Rescaled tensors", {"tensor", "stored times"}, rows) +
                            More(tensors.size(), rows.size()));
}

std::string WideNodes(const std::vector<WideNode>& nodes, const char* precision) {
  if (nodes.empty()) return "";
  std::map<std::string, std::vector<const WideNode*>> by_reason;
  for (const WideNode& node : nodes) by_reason[node.reason].push_back(&node);
  std::string html = fmt::format("<h3>{} in {}</h3>\n", Counted(nodes.size(), "node"), precision);
  for (const auto& [reason, members] : by_reason) {
    html += fmt::format("<p><a class=\"tag\" href=\"#nodes\" data-reason=\"{0}\">{0}</a> {1}: {2}</p>\n",
                        EscapeHtml(reason), Counted(members.size(), "node"), EscapeHtml(ReasonText(reason)));
    std::vector<Row> rows;
    for (size_t i = 0; i < std::min(kListed, members.size()); ++i) {
      rows.push_back(
          {CodeCell(members[i]->name), TextCell(members[i]->op_type), TextCell(members[i]->evidence)});
    }
    html += Details("Nodes and evidence", HtmlTable(fmt::format("{} for: {}", precision, reason),
                                                    {"node", "operator", "evidence"}, rows) +
                                              More(members.size(), rows.size()));
  }
  return html;
}

std::string Constants(const Report& report) {
  if (report.constants.empty()) return "";
  std::vector<Row> rows;
  for (const ConstantPlan& constant : report.constants) {
    std::string change;
    if (constant.clamp) change = fmt::format("clamped to ±{}", Number(*constant.clamp));
    if (constant.keep_nonzero) change += change.empty() ? "kept from zero" : ", kept from zero";
    rows.push_back({CodeCell(constant.name), TextCell(change), TextCell(constant.evidence)});
  }
  return "<h3>Constants</h3>\n" + HtmlTable("Changed constants", {"constant", "change", "why"}, rows);
}

std::string Widenings(const Report& report) {
  if (report.widenings.empty()) return "";
  std::string html = "<h3>Widening</h3>\n<ol>\n";
  for (const Widening& step : report.widenings) {
    std::vector<Row> rows;
    for (size_t i = 0; i < std::min(kListed, step.nodes.size()); ++i)
      rows.push_back({CodeCell(step.nodes[i])});
    html += fmt::format(
        "<li>The check failed: {} more went to FP32 for their error; predicted error {}\n{}{}</li>\n",
        Counted(step.nodes.size(), "node"), Number(step.predicted_rel_l2),
        Details("Nodes, most harmful first", HtmlTable("Widened", {"node"}, rows)),
        More(step.nodes.size(), rows.size()));
  }
  html += "</ol>\n";
  if (!report.narrowing.nodes.empty()) {
    html += fmt::format("<p>{} went back to FP16, which the check allows.</p>\n",
                        Counted(report.narrowing.nodes.size(), "node"));
  }
  if (report.narrowing.minimal) html += "<p>Each of the rest is needed.</p>\n";
  return html;
}

std::string Strings(std::string_view title, const std::vector<std::string>& lines) {
  if (lines.empty()) return "";
  std::string html = fmt::format("<h3>{}</h3>\n<ul>\n", title);
  for (size_t i = 0; i < std::min(kListed, lines.size()); ++i)
    html += "<li>" + EscapeHtml(lines[i]) + "</li>\n";
  return html + "</ul>\n" + More(lines.size(), kListed);
}

}  // namespace

std::string VerdictSection(const Report& report) {
  const VerdictWords words = WordsOf(report);
  std::string html = fmt::format(
      "<section id=\"verdict\" class=\"verdict {}\">\n<p class=\"mark\" aria-hidden=\"true\">{}</p>\n"
      "<div><h1>{}</h1>\n<p>{}</p></div>\n<dl>\n",
      words.kind, words.mark, words.word, words.sentence);
  if (report.samples > 0) html += Fact("Samples", fmt::format("{}", report.samples));
  if (report.check) html += Fact("Tolerance", EscapeHtml(ToleranceText(report.tolerance)));
  if (report.seconds > 0.0) html += Fact("Time", fmt::format("{:.1f} s", report.seconds));
  if (report.opset) html += Fact("Opset", fmt::format("raised to {}", *report.opset));
  html += Fact("Model", CodeHtml(report.model_path));
  if (!report.fixed_path.empty()) html += Fact("Fixed model", CodeHtml(report.fixed_path));
  return html + "</dl>\n</section>\n";
}

std::string ComparisonSection(const Report& report, const Comparison& comparison) {
  std::vector<std::string> heads = {"", "FP32", "Plain FP16"};
  std::vector<const ModelSummary*> models = {&comparison.original, &comparison.plain};
  if (comparison.fixed) {
    heads.push_back(report.command == "plan" ? "As planned" : "Fixed");
    models.push_back(&*comparison.fixed);
  }
  std::vector<Row> rows;
  for (const ComparisonLine& line : kLines) {
    Row row = {{fmt::format("<abbr title=\"{}\">{}</abbr>", line.title, line.name)}};
    bool known = false;
    for (const ModelSummary* model : models) {
      row.push_back(NumberCell(EscapeHtml(line.text(*model))));
      known = known || row.back().html != "–";
    }
    if (known) rows.push_back(std::move(row));
  }
  std::string notes;
  if (report.tensors > 0 && report.command != "check") {
    notes = fmt::format("<p>{} of {} pass the threshold of {:g}.</p>\n", report.overflowing.size(),
                        Counted(report.tensors, "tensor"), report.threshold);
  }
  const std::string places = FirstPlaces(report);
  if (!places.empty()) notes += "<ul class=\"first\">\n" + places + "</ul>\n";
  if (!notes.empty()) notes = "<h3>Where plain FP16 breaks</h3>\n" + notes;
  const char* title = comparison.fixed ? "Before and after" : "What plain FP16 makes of it";
  return fmt::format("<section id=\"comparison\">\n<h2>{}</h2>\n<div class=\"sides\">\n", title) +
         HtmlTable("The original, its plain conversion to FP16 and the result", heads, rows) + "<div>\n" +
         notes + "</div>\n</div>\n</section>\n";
}

std::string RepairsSection(const Report& report) {
  std::string html = Strings("Why little is gained", report.little_gained);
  html += Strings("Warnings", report.warnings);
  html += Rescaled(report) + WideNodes(report.fp32_nodes, "FP32") +
          (report.half == Precision::kBf16 ? "" : WideNodes(report.bf16_nodes, "BF16"));
  html += Constants(report) + Widenings(report);
  html += Strings("Weights past 65504", report.out_of_range_weights);
  html +=
      Strings("Sums that may pass 65504 on the way, where a runtime adds up in FP16", report.partial_sums);
  std::vector<std::string> skipped;
  for (const SkippedSample& sample : report.skipped) skipped.push_back(sample.name + ": " + sample.reason);
  html += Strings("Samples left out", skipped);
  if (html.empty()) return "";
  const bool repaired = report.command == "fix" || report.command == "plan";
  return fmt::format("<section id=\"repairs\">\n<h2>{}</h2>\n{}</section>\n",
                     repaired ? "What was repaired, and how" : "Notes", html);
}

}  // namespace halfsafe
