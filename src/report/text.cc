#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "base/display.h"
#include "base/text.h"
#include "report/report.h"
#include "report/table.h"

namespace halfsafe {
namespace {

/// The largest value, or what is not finite in `where`.
std::string Peak(const TensorStats& stats, const char* where) {
  if (stats.nan_count > 0) return fmt::format("{} NaN in {}", stats.nan_count, where);
  if (stats.inf_count > 0) return fmt::format("{} inf in {}", stats.inf_count, where);
  return Number(stats.abs_max);
}

/// The worst of the tensors that overflow in `where`, a type.
std::string OverflowRows(const std::vector<OverflowRow>& overflowing, const char* where, int width) {
  std::vector<std::vector<std::string>> rows = {{"tensor", "operator", "max |x|", "sample"}};
  for (size_t i = 0; i < std::min(kRows, overflowing.size()); ++i) {
    const OverflowRow& row = overflowing[i];
    rows.push_back({row.tensor, row.op_type.empty() ? "(input)" : row.op_type, Peak(row.stats, where),
                    row.stats.abs_max_sample});
  }
  std::string text = rows.size() > 1 ? Table(rows, width, {0, 1, 3}) : "";
  if (overflowing.size() > kRows) text += fmt::format("  ... and {} more\n", overflowing.size() - kRows);
  return text;
}

/// What overflows inside the fixed model.
std::string FixedOverflowTable(const Report& report, int width) {
  if (!report.fixed_overflowing) return "";
  const size_t count = report.fixed_overflowing->size();
  if (count == 0)
    return fmt::format("Inside the fixed model: no FP16 tensor passes {:g}\n", report.threshold);
  return fmt::format("Inside the fixed model: {} FP16 tensor{} {:g} or stop{} being finite\n", count,
                     count == 1 ? " passes" : "s pass", report.threshold, count == 1 ? "s" : "") +
         OverflowRows(*report.fixed_overflowing, "FP16", width);
}

std::string OverflowTable(const Report& report, int width) {
  if ((report.tensors == 0 && report.overflowing.empty()) || report.command == "check") return "";
  std::string text = fmt::format("Overflow: {} of {} tensors pass {:g}", report.overflowing.size(),
                                 report.tensors, report.threshold);
  const auto past = std::count_if(
      report.overflowing.begin(), report.overflowing.end(),
      [](const OverflowRow& row) { return row.stats.overflow_count + row.stats.inf_count > 0; });
  text += past > 0 ? fmt::format(", {} pass FP16's 65504\n", past) : "\n";
  text += OverflowRows(report.overflowing, "FP32", width);
  if (!report.out_of_range_weights.empty()) {
    text += Line("Weights past 65504: {}", fmt::join(report.out_of_range_weights, ", "));
  }
  if (!report.partial_sums.empty()) {
    text += fmt::format(
        "Sums that may pass 65504 on the way, if a runtime accumulates in FP16: {} (see --accumulate)\n",
        report.partial_sums.size());
  }
  return text;
}

std::string_view HalfText(Precision half) { return half == Precision::kBf16 ? "BF16" : "FP16"; }

/// In one line: operators of a model may be named anything.
std::string ShareText(const Report& report) {
  if (!report.work) return "";
  std::string text =
      fmt::format("; {:.1f}% of the {} are {}", 100.0 * report.work->share,
                  report.work->products ? "multiply-adds" : "bytes that nodes move", HalfText(report.half));
  if (report.work->integers) text += " or integers";
  if (!report.work->uncounted.empty())
    text += fmt::format(", those of {} not counted", fmt::join(report.work->uncounted, ", "));
  return OneLine(text);
}

std::string PlanTable(const Report& report, int width) {
  if (report.nodes == 0 || report.command == "check") return "";
  // Where BF16 is the rule, it needs no reason.
  static const std::vector<WideNode> kNone;
  const std::vector<WideNode>& bf16 = report.half == Precision::kBf16 ? kNone : report.bf16_nodes;
  const size_t wide = report.fp32_nodes.size() + bf16.size();
  std::string text = fmt::format("Plan: {} of {} nodes stay FP32", report.fp32_nodes.size(), report.nodes);
  if (!bf16.empty()) text += fmt::format(", {} become BF16", bf16.size());
  text += ShareText(report) + "\n";
  std::map<std::string, size_t> reasons;
  std::vector<std::vector<std::string>> rows = {{"node", "operator", "in", "why", "evidence"}};
  for (const auto& [precision, nodes] : {std::pair{"FP32", &report.fp32_nodes}, std::pair{"BF16", &bf16}}) {
    for (const WideNode& node : *nodes) {
      ++reasons[node.reason];
      if (rows.size() <= kRows)
        rows.push_back({node.name, node.op_type, precision, node.reason, node.evidence});
    }
  }
  if (rows.size() > 1) text += Table(rows, width, {0, 1, 4});
  if (wide > kRows) {
    text += "  ... in all:";
    for (const auto& [reason, count] : reasons) text += fmt::format(" {} {}", count, reason);
    text += "\n";
  }
  for (const ConstantPlan& constant : report.constants)
    text += Line("  constant {}: {}", constant.name, constant.evidence);
  if (!report.rescaled.empty()) {
    const auto largest = std::max_element(
        report.rescaled.begin(), report.rescaled.end(),
        [](const TensorPlan& a, const TensorPlan& b) { return std::abs(a.exponent) < std::abs(b.exponent); });
    text += Line(
        "  {} tensor{} stored times a power of two, which leaves FP32 results as they are, up to {} times "
        "2^{}",
        report.rescaled.size(), report.rescaled.size() == 1 ? "" : "s", largest->name, -largest->exponent);
  }
  return text;
}

/// What became of one output in one model; "-" where the model was not run.
std::string ErrorOf(const ModelErrors* model, size_t output) {
  return model != nullptr && output < model->outputs.size() ? ErrorCell(model->outputs[output]) : "-";
}

const ModelErrors* Plain(const std::optional<ModelErrors>& errors) { return errors ? &*errors : nullptr; }

/// Why a model is not right, beside its errors.
std::string ModelLines(const std::string& name, const ModelErrors& model, bool outputs) {
  std::string text;
  const auto first = [&](const std::optional<FirstNonFinite>& where, const char* what) {
    if (where)
      text += Line("  {}: first {} at {}, made by {} ({}) in sample {}", name, what, where->tensor,
                   where->node, where->op_type, where->sample);
  };
  first(model.first_inf, "infinity");
  first(model.first_nan, "NaN");
  if (outputs && !model.nonfinite_outputs.empty())
    text += Line("  {}: not finite at {}", name, fmt::join(model.nonfinite_outputs, ", "));
  if (!model.failure.empty()) text += Line("  {} does not run: {}", name, model.failure);
  return text;
}

/// What the norm of a whole output doesn't show: its worst part, and how far roundings turn its error.
std::string OutputLines(const OutputError& output, const OutputRule* rule) {
  std::string text;
  if (const auto& part = output.worst_part;
      part && part->error > 0.0 &&
      (part->error > part->allowed || (rule != nullptr && rule->parts.size() > 1))) {
    text += Line("  {}: off by {} of {} in sample {}, up to {} is right", part->where, Number(part->error),
                 Number(part->reference), part->sample, Number(part->allowed));
  }
  if (!IsFloat(output.dtype)) {
    if (output.on_edge)
      text += Line("  {}: other values under some of the roundings that were tried: a near tie", output.name);
    return text;
  }
  if (output.draws > 1) {
    text += Line(
        "  {}: {:.2g} of the tolerance over {} roundings of sample {}, which counts; {:.2g} under the "
        "worst{}",
        output.name, output.distance, output.draws, output.distance_sample, output.worst_draw,
        output.on_edge ? ": on the edge" : "");
  }
  return text;
}

std::string CheckTable(const CheckResult& check, const Tolerance& tolerance, int width) {
  std::string text = fmt::format("Check on {} sample{}, against FP32 (tolerance: relative L2 error {:g}):\n",
                                 check.samples, check.samples == 1 ? "" : "s", tolerance.rel_l2);
  const std::string plain = check.plain_as_stored ? "as it is" : "plain FP16";
  std::vector<std::vector<std::string>> rows = {{"output", plain, "fixed"}};
  if (check.device) rows[0].insert(rows[0].end(), {plain + " on GPU", "fixed on GPU"});
  rows[0].insert(rows[0].end(), {"max |error|", "cosine", ""});
  for (size_t i = 0; i < check.fixed.outputs.size(); ++i) {
    const OutputError& output = check.fixed.outputs[i];
    auto& row = rows.emplace_back();
    row = {output.name, ErrorOf(Plain(check.plain), i), ErrorCell(output)};
    bool right = output.right;
    if (check.device) {
      row.insert(row.end(), {ErrorOf(Plain(check.device->plain), i), ErrorOf(&check.device->fixed, i)});
      right = right && i < check.device->fixed.outputs.size() && check.device->fixed.outputs[i].right;
    }
    row.insert(row.end(), {Number(output.max_abs),
                           std::isnan(output.cosine) ? "-" : fmt::format("{:.6f}", output.cosine),
                           right ? "right" : "NOT RIGHT"});
  }
  text += Table(rows, width);
  if (check.plain) text += ModelLines(plain, *check.plain, true);
  text += ModelLines("fixed", check.fixed, false);
  for (size_t i = 0; i < check.fixed.outputs.size(); ++i)
    text += OutputLines(check.fixed.outputs[i], i < check.rules.size() ? &check.rules[i] : nullptr);
  if (!check.device) return text;
  if (check.device->plain) text += ModelLines(plain + " on GPU", *check.device->plain, true);
  text += ModelLines("fixed on GPU", check.device->fixed, true);
  if (check.fixed.right && !check.device->fixed.right && check.device->fixed.failure.empty())
    text +=
        "  right with sums in FP32, as the emulation has them; the GPU adds up some in FP16: see "
        "--accumulate and --keep-op (docs/cuda.md)\n";
  return text;
}

std::string SkippedLines(const Report& report) {
  constexpr size_t kShown = 5;
  if (report.skipped.empty()) return "";
  std::string text =
      fmt::format("Skipped {} bad sample{} of {}:\n", report.skipped.size(),
                  report.skipped.size() == 1 ? "" : "s", report.samples + report.skipped.size());
  for (size_t i = 0; i < std::min(kShown, report.skipped.size()); ++i)
    text += Line("  {}: {}", report.skipped[i].name, report.skipped[i].reason);
  if (report.skipped.size() > kShown) text += "  ... all are named in --json and in the ranges\n";
  return text;
}

std::string VerdictLine(const Report& report, bool color) {
  if (report.verdict.empty()) return "";
  std::string text = report.verdict == "little-gained"
                         ? Caution("RIGHT, LITTLE GAINED: " + report.little_gained.front(), color)
                     : report.verdict == "right"
                         ? Verdict("RIGHT: the fixed model agrees with FP32 on every sample", true, color)
                         : Verdict("NOT RIGHT: the model is outside the tolerance", false, color);
  text += fmt::format("  ({:.1f} s)\n", report.seconds);
  if (!report.fixed_overflowing || report.fixed_overflowing->empty()) return text;
  return text + Verdict("OVERFLOW: inside the fixed model, on these samples", false, color) + "\n";
}

}  // namespace

std::string ToText(const Report& report, int width, bool color) {
  std::string text = fmt::format("{} ({})", OneLine(report.model_path), ByteText(report.model_bytes));
  if (report.opset) text += fmt::format(" at {}", OpsetText(report.opset));
  if (report.samples > 0)
    text += fmt::format(", {} sample{}", report.samples, report.samples == 1 ? "" : "s");
  text +=
      fmt::format("\n{}{}{}", SkippedLines(report), OverflowTable(report, width), PlanTable(report, width));
  for (const Widening& step : report.widenings) {
    text += fmt::format("Widened: {} more node{} to FP32 for their error\n", step.nodes.size(),
                        step.nodes.size() == 1 ? "" : "s");
  }
  if (!report.narrowing.nodes.empty())
    text +=
        fmt::format("Taken back: {} of them to {}\n", report.narrowing.nodes.size(), HalfText(report.half));
  if (!report.widenings.empty() && report.narrowing.minimal)
    text += "  without any one of the rest it would be near the tolerance, or past it\n";
  if (report.command == "fix" && report.narrowing.checks > 0 && !report.narrowing.minimal)
    text += "  more may be possible with a larger --budget\n";
  if (!report.fixed_path.empty()) {
    text += Line("{} {}: {} (before: {}), {} Cast{}", report.command == "check" ? "Fixed:" : "Wrote",
                 report.fixed_path, ByteText(report.fixed_bytes), ByteText(report.model_bytes), report.casts,
                 report.casts == 1 ? "" : "s");
  }
  if (report.check) text += CheckTable(*report.check, report.tolerance, width);
  text += FixedOverflowTable(report, width);
  if (report.holdout)
    text += fmt::format("Held out of calibration. {}", CheckTable(*report.holdout, report.tolerance, width));
  for (const std::string& warning : report.warnings) text += Line("warning: {}", warning);
  for (size_t i = 1; i < report.little_gained.size(); ++i)
    text += Line("little gained: {}", report.little_gained[i]);
  return text + VerdictLine(report, color);
}

}  // namespace halfsafe
