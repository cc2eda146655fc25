#include "report/html_data.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <functional>
#include <unordered_map>

#include "report/check_json.h"
#include "report/result_json.h"

namespace halfsafe {
namespace {

/// Words that repeat, by number.
class Words {
 public:
  int Of(const std::string& word) {
    const auto [found, added] = numbers_.emplace(word, static_cast<int>(numbers_.size()));
    if (added) words_.push_back(word);
    return found->second;
  }
  Json ToJson() const { return words_; }

 private:
  std::unordered_map<std::string, int> numbers_;
  std::vector<std::string> words_;
};

/// A value that was FP32, so that it prints with as few digits as tell it from other FP32 values; null where
/// it is not finite.
Json ShortFloat(double value) {
  if (!std::isfinite(value)) return nullptr;
  const auto single = static_cast<float>(value);
  if (static_cast<double>(single) != value) return value;
  if (value == std::floor(value) && std::fabs(value) < 1e15) return static_cast<int64_t>(value);
  char digits[32];
  const auto end = std::to_chars(digits, digits + sizeof digits, single).ptr;
  double shortest = 0.0;
  std::from_chars(digits, end, shortest);
  return shortest;
}

template <typename Row>
Json Column(const std::vector<Row>& rows, const std::function<Json(const Row&)>& value) {
  Json column = Json::array();
  column.get_ref<Json::array_t&>().reserve(rows.size());
  for (const Row& row : rows) column.push_back(value(row));
  return column;
}

/// A column of what was observed; null where nothing was.
Json Observed(const std::vector<ReportTensor>& tensors,
              const std::function<Json(const ReportTensor&)>& value) {
  return Column<ReportTensor>(tensors, [&](const ReportTensor& tensor) -> Json {
    return tensor.stats == nullptr ? Json() : value(tensor);
  });
}

/// The same of finite values; null where there are none.
Json OfValues(const std::vector<ReportTensor>& tensors,
              const std::function<double(const TensorStats&)>& value) {
  return Observed(tensors, [&](const ReportTensor& tensor) -> Json {
    return tensor.stats->count == 0 ? Json() : ShortFloat(value(*tensor.stats));
  });
}

/// The power of two below which `share` of the non-zero values lie.
Json Quantile(const TensorStats& stats, double share) {
  uint64_t all = 0;
  for (const auto& [exponent, count] : stats.exponents) all += count;
  const auto wanted = static_cast<uint64_t>(std::floor(share * static_cast<double>(all)));
  uint64_t seen = 0;
  for (const auto& [exponent, count] : stats.exponents) {
    seen += count;
    if (seen > wanted) return exponent;
  }
  return nullptr;
}

/// Counts of values per power of two: the first power, then a count for it and each that follows.
Json Histogram(const TensorStats& stats) {
  if (stats.exponents.empty()) return nullptr;
  Json list = Json::array();
  const int first = stats.exponents.begin()->first, last = stats.exponents.rbegin()->first;
  list.push_back(first);
  for (int exponent = first; exponent <= last; ++exponent) {
    const auto found = stats.exponents.find(exponent);
    list.push_back(found == stats.exponents.end() ? 0 : found->second);
  }
  return list;
}

/// Histograms are most of a page's bytes. Past this many counts those of tensors that overflow are kept.
constexpr size_t kHistogramCounts = 400000;

bool AllHistograms(const std::vector<ReportTensor>& tensors) {
  size_t counts = 0;
  for (const ReportTensor& tensor : tensors) {
    if (tensor.stats == nullptr || tensor.stats->exponents.empty()) continue;
    const auto& exponents = tensor.stats->exponents;
    counts += static_cast<size_t>(exponents.rbegin()->first - exponents.begin()->first + 1);
  }
  return counts <= kHistogramCounts;
}

const char* KindName(TensorKind kind) {
  switch (kind) {
    case TensorKind::kInput:
      return "input";
    case TensorKind::kConstant:
      return "constant";
    case TensorKind::kBodyInput:
      return "body input";
    case TensorKind::kActivation:
      return "result";
  }
  return "";
}

Json StatsColumns(const std::vector<ReportTensor>& tensors, Words* words) {
  const auto count = [&](uint64_t TensorStats::*field) {
    return Observed(tensors, [field](const ReportTensor& tensor) -> Json { return tensor.stats->*field; });
  };
  const auto quantile = [&](double share) {
    return Observed(tensors, [share](const ReportTensor& tensor) { return Quantile(*tensor.stats, share); });
  };
  auto columns = Json::object();
  columns["abs_max"] = OfValues(tensors, [](const TensorStats& stats) { return stats.abs_max; });
  columns["min"] = OfValues(tensors, [](const TensorStats& stats) { return stats.min; });
  columns["max"] = OfValues(tensors, [](const TensorStats& stats) { return stats.max; });
  columns["low"] = quantile(0.0);
  columns["p01"] = quantile(0.01);
  columns["p99"] = quantile(0.99);
  columns["sample"] = Observed(tensors, [&](const ReportTensor& tensor) -> Json {
    return tensor.stats->abs_max_sample.empty() ? Json() : Json(words->Of(tensor.stats->abs_max_sample));
  });
  columns["count"] = count(&TensorStats::count);
  columns["nan"] = count(&TensorStats::nan_count);
  columns["inf"] = count(&TensorStats::inf_count);
  columns["overflow"] = count(&TensorStats::overflow_count);
  columns["subnormal"] = count(&TensorStats::subnormal_count);
  const bool all = AllHistograms(tensors);
  columns["histogram"] = Observed(tensors, [all](const ReportTensor& tensor) -> Json {
    return all || tensor.overflows ? Histogram(*tensor.stats) : Json();
  });
  return columns;
}

/// Numbers of the elements that a predicate holds for.
template <typename Row>
Json Where(const std::vector<Row>& rows, bool Row::*flag) {
  Json list = Json::array();
  for (size_t i = 0; i < rows.size(); ++i) {
    if (rows[i].*flag) list.push_back(i);
  }
  return list;
}

/// A name, or the number of the original's tensor or node that has the same.
template <typename Row>
Json Names(const std::vector<Row>& rows, const std::vector<Row>* original) {
  std::unordered_map<std::string_view, size_t> known;
  for (size_t i = 0; original != nullptr && i < original->size(); ++i) known.emplace((*original)[i].name, i);
  return Column<Row>(rows, [&](const Row& row) -> Json {
    const auto found = known.find(row.name);
    return found == known.end() ? Json(row.name) : Json(found->second);
  });
}

Json GraphJson(const ReportGraph& graph, const ReportGraph* original, Words* words) {
  const auto& tensors = graph.tensors;
  Json of_tensors = {
      {"name", Names(tensors, original == nullptr ? nullptr : &original->tensors)},
      {"kind", Column<ReportTensor>(tensors, [&](auto& tensor) { return words->Of(KindName(tensor.kind)); })},
      {"dtype",
       Column<ReportTensor>(tensors, [&](auto& tensor) { return words->Of(DTypeName(tensor.dtype)); })},
      {"shape", Column<ReportTensor>(tensors, [&](auto& tensor) { return words->Of(tensor.shape); })},
      {"producer", Column<ReportTensor>(tensors, [](auto& tensor) { return tensor.producer; })},
      {"counterpart", Column<ReportTensor>(tensors, [](auto& tensor) { return tensor.counterpart; })},
      {"exponent", Column<ReportTensor>(tensors, [](auto& tensor) { return tensor.exponent; })},
      {"outputs", Where(tensors, &ReportTensor::output)},
      {"overflowing", Where(tensors, &ReportTensor::overflows)}};
  const bool seen = std::any_of(tensors.begin(), tensors.end(),
                                [](const ReportTensor& tensor) { return tensor.stats != nullptr; });
  if (seen) of_tensors.update(StatsColumns(tensors, words));
  const auto& nodes = graph.nodes;
  const auto word = [&](std::string ReportNode::*field) {
    return Column<ReportNode>(nodes, [field, words](auto& node) { return words->Of(node.*field); });
  };
  Json of_nodes = {{"name", Names(nodes, original == nullptr ? nullptr : &original->nodes)},
                   {"op_type", word(&ReportNode::op_type)},
                   {"precision", word(&ReportNode::precision)},
                   {"reason", word(&ReportNode::reason)},
                   {"evidence", word(&ReportNode::evidence)},
                   {"repair", word(&ReportNode::repair)},
                   {"inputs", Column<ReportNode>(nodes, [](auto& node) { return node.inputs; })},
                   {"outputs", Column<ReportNode>(nodes, [](auto& node) { return node.outputs; })},
                   {"inserted", Where(nodes, &ReportNode::inserted)}};
  return {{"tensors", std::move(of_tensors)}, {"nodes", std::move(of_nodes)}};
}

Json SummaryJson(const ModelSummary& summary) {
  return {{"runs", summary.runs},
          {"overflowing", OrNull(summary.overflowing)},
          {"nonfinite", OrNull(summary.nonfinite)},
          {"worst_rel_l2", summary.worst_rel_l2 ? NumberOrNull(*summary.worst_rel_l2) : Json()},
          {"worst_flips", OrNull(summary.worst_flips)},
          {"bytes", OrNull(summary.bytes)},
          {"casts", OrNull(summary.casts)},
          {"fp16_multiply_adds", summary.work ? Json(summary.work->share) : Json()}};
}

Json ComparisonJson(const Comparison& comparison) {
  return {{"original", SummaryJson(comparison.original)},
          {"plain_fp16", SummaryJson(comparison.plain)},
          {"fixed", comparison.fixed ? SummaryJson(*comparison.fixed) : Json()}};
}

/// What one model gave for one output, sample by sample.
Json ErrorColumns(const std::vector<SampleError>& samples, Words* words) {
  return {{"sample", Column<SampleError>(samples, [&](auto& error) { return words->Of(error.sample); })},
          {"rel_l2", Column<SampleError>(samples, [](auto& error) { return NumberOrNull(error.rel_l2); })},
          {"max_abs", Column<SampleError>(samples, [](auto& error) { return NumberOrNull(error.max_abs); })},
          {"new_nonfinite", Column<SampleError>(samples, [](auto& error) { return error.new_nonfinite; })},
          {"flips", Column<SampleError>(samples, [](auto& error) { return error.flips; })},
          {"flip_share", Column<SampleError>(samples, [](auto& error) { return error.flip_share; })},
          {"right", Column<SampleError>(samples, [](auto& error) { return error.right; })}};
}

void AddErrors(const char* model, const ModelErrors& errors, Words* words, Json* list) {
  for (const OutputError& output : errors.outputs) {
    if (output.samples.empty()) continue;
    Json entry = {{"model", model}, {"output", output.name}, {"dtype", DTypeName(output.dtype)}};
    entry.update(ErrorColumns(output.samples, words));
    list->push_back(std::move(entry));
  }
}

Json ErrorsJson(const Report& report, Words* words) {
  Json list = Json::array();
  if (report.check && report.check->plain) AddErrors("plain FP16", *report.check->plain, words, &list);
  if (report.check) AddErrors("fixed", report.check->fixed, words, &list);
  if (report.check && report.check->device) {
    if (report.check->device->plain)
      AddErrors("plain FP16 on GPU", *report.check->device->plain, words, &list);
    AddErrors("fixed on GPU", report.check->device->fixed, words, &list);
  }
  if (report.holdout) AddErrors("fixed, held out", report.holdout->fixed, words, &list);
  return list;
}

}  // namespace

Json ReportData(const Report& report, const Comparison& comparison, const ReportGraphs& graphs) {
  Words words;
  Json data = {{"format", "halfsafe-report"}, {"version", 1}};
  data["result"] = ResultJson(report);
  // The columns have these, in fewer bytes.
  for (const char* list : {"fp32_nodes", "bf16_nodes", "rescaled"}) data["result"].erase(list);
  data["comparison"] = ComparisonJson(comparison);
  data["original"] = GraphJson(graphs.original, nullptr, &words);
  data["fixed"] = graphs.fixed ? GraphJson(*graphs.fixed, &graphs.original, &words) : Json();
  data["errors"] = ErrorsJson(report, &words);
  data["words"] = words.ToJson();
  return data;
}

}  // namespace halfsafe
