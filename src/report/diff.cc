#include "report/diff.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <utility>

#include "base/display.h"
#include "base/json.h"
#include "base/text.h"
#include "report/check_json.h"
#include "report/table.h"

namespace halfsafe {
namespace {

using Changes = std::vector<const TensorChange*>;

Changes Select(const RangesDiff& diff, const std::function<bool(const TensorChange&)>& wanted) {
  Changes selected;
  for (const TensorChange& change : diff.changes)
    if (wanted(change)) selected.push_back(&change);
  return selected;
}

std::string PeakCell(const std::optional<TensorStats>& stats) {
  if (!stats) return "-";
  if (stats->nan_count > 0) return fmt::format("{} NaN", stats->nan_count);
  if (stats->inf_count > 0) return fmt::format("{} inf", stats->inf_count);
  return stats->count > 0 ? Number(stats->abs_max) : "no values";
}

std::string LevelCell(RangeLevel level, double threshold) {
  return level == RangeLevel::kPastThreshold ? fmt::format("past {:g}", threshold)
         : level == RangeLevel::kPastHalf    ? "past 65504"
         : level == RangeLevel::kNotFinite   ? "not finite"
                                             : "within";
}

std::string FactorCell(const std::optional<double>& log2) {
  return log2 ? fmt::format("2^{:+.1f}", *log2) : "-";
}

/// Tensors that passed a limit, one way or the other; the worst first.
std::string LimitTable(const char* heading, Changes changes, double threshold, int width) {
  if (changes.empty()) return "";
  std::stable_sort(changes.begin(), changes.end(), [](const TensorChange* a, const TensorChange* b) {
    return std::pair(a->level_after, a->after->abs_max) > std::pair(b->level_after, b->after->abs_max);
  });
  std::vector<std::vector<std::string>> rows = {{"tensor", "before", "max |x|", "factor", "now", "sample"}};
  for (size_t i = 0; i < std::min(kRows, changes.size()); ++i) {
    const TensorChange& change = *changes[i];
    rows.push_back({change.name, PeakCell(change.before), PeakCell(change.after),
                    FactorCell(change.log2_factor), LevelCell(change.level_after, threshold),
                    change.after->abs_max_sample});
  }
  std::string text = fmt::format("{}: {}\n", heading, changes.size()) + Table(rows, width, {0, 5});
  if (changes.size() > kRows) text += fmt::format("  ... and {} more\n", changes.size() - kRows);
  return text;
}

/// The tensors whose largest value changed most; `sign` is 1 for those that grew, -1 for those that shrank.
std::string FactorTable(const char* heading, const RangesDiff& diff, double sign, int width) {
  constexpr size_t kShown = 5;
  Changes changes = Select(diff, [&](const TensorChange& change) {
    return change.log2_factor && sign * *change.log2_factor > 0.0;
  });
  if (changes.empty()) return "";
  std::stable_sort(changes.begin(), changes.end(), [&](const TensorChange* a, const TensorChange* b) {
    return sign * *a->log2_factor > sign * *b->log2_factor;
  });
  std::vector<std::vector<std::string>> rows = {{"tensor", "before", "max |x|", "factor"}};
  for (size_t i = 0; i < std::min(kShown, changes.size()); ++i) {
    const TensorChange& change = *changes[i];
    rows.push_back({change.name, Number(change.before->abs_max), Number(change.after->abs_max),
                    FactorCell(change.log2_factor)});
  }
  return fmt::format("{}: {} tensor{}, most\n", heading, changes.size(), changes.size() == 1 ? "" : "s") +
         Table(rows, width);
}

std::string NameLine(const char* heading, const Changes& changes) {
  if (changes.empty()) return "";
  std::vector<std::string> names;
  for (size_t i = 0; i < std::min(kRows, changes.size()); ++i) names.push_back(changes[i]->name);
  std::string text = fmt::format("{}: {}", heading, fmt::join(names, ", "));
  if (changes.size() > kRows) text += fmt::format(" ... and {} more", changes.size() - kRows);
  return OneLine(text) + "\n";
}

std::string IdentityLine(const RangesDiff& diff) {
  std::string text;
  if (diff.SameModel()) {
    text = fmt::format("The same model ({:.12})", diff.after.model_sha256);
  } else if (diff.before.model_sha256 == diff.after.model_sha256) {
    text = fmt::format("The same model, at {} before and at {} now", OpsetText(diff.before.opset),
                       OpsetText(diff.after.opset));
  } else {
    text = fmt::format("Another model ({:.12} before, {:.12} now)", diff.before.model_sha256,
                       diff.after.model_sha256);
  }
  return text + fmt::format(", {} sample{} before, {} now\n", diff.before.samples,
                            diff.before.samples == 1 ? "" : "s", diff.after.samples);
}

Json ScanJson(const ScanIdentity& scan) {
  return {{"model_sha256", scan.model_sha256},
          {"opset", OrNull(scan.opset)},
          {"samples", scan.samples},
          {"skipped", scan.skipped}};
}

Json SideJson(const std::optional<TensorStats>& stats, RangeLevel level) {
  if (!stats) return nullptr;
  return {{"level", RangeLevelName(level)},
          {"abs_max", stats->count > 0 ? Json(stats->abs_max) : Json()},
          {"abs_max_sample", stats->abs_max_sample},
          {"overflow_count", stats->overflow_count},
          {"nan_count", stats->nan_count},
          {"inf_count", stats->inf_count}};
}

}  // namespace

std::string ToText(const RangesDiff& diff, int width, bool color) {
  const Changes fresh = Select(diff, [](const TensorChange& change) { return !change.before; });
  const Changes gone = Select(diff, [](const TensorChange& change) { return !change.after; });
  const Changes worse = Select(diff, &TensorChange::Worse), better = Select(diff, &TensorChange::Better);
  std::string text = IdentityLine(diff);
  text += fmt::format("Tensors: {} in both, {} of them changed; {} new, {} gone\n", diff.common,
                      diff.changes.size() - fresh.size() - gone.size(), fresh.size(), gone.size());
  text += LimitTable("Overflow now and not before", worse, diff.threshold, width);
  text += LimitTable("Within a limit that they passed before", better, diff.threshold, width);
  text += FactorTable("Grown", diff, 1.0, width) + FactorTable("Shrunk", diff, -1.0, width);
  text += NameLine("New", fresh) + NameLine("Gone", gone);
  return text +
         Verdict(worse.empty()
                     ? fmt::format("NO NEW OVERFLOW: nothing passes {:g} that didn't before", diff.threshold)
                     : fmt::format("NEW OVERFLOW: {} tensor{} past a limit not passed before", worse.size(),
                                   worse.size() == 1 ? " is" : "s are"),
                 worse.empty(), color) +
         "\n";
}

std::string ToJson(const RangesDiff& diff) {
  Json json = {{"format", "halfsafe-diff"},          {"version", 1},
               {"same_model", diff.SameModel()},     {"before", ScanJson(diff.before)},
               {"after", ScanJson(diff.after)},      {"threshold", diff.threshold},
               {"new_overflow", diff.NewOverflow()}, {"common", diff.common}};
  json["tensors"] = Json::array();
  for (const TensorChange& change : diff.changes) {
    json["tensors"].push_back({{"name", change.name},
                               {"constant", (change.after ? change.after : change.before)->constant},
                               {"change", change.Worse()    ? "worse"
                                          : change.Better() ? "better"
                                          : !change.before  ? "new"
                                          : !change.after   ? "gone"
                                                            : "same-level"},
                               {"log2_factor", OrNull(change.log2_factor)},
                               {"before", SideJson(change.before, change.level_before)},
                               {"after", SideJson(change.after, change.level_after)}});
  }
  return DumpJson(json);
}

}  // namespace halfsafe
