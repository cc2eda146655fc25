#include "report/comparison.h"

#include <algorithm>

#include "halfsafe/rewrite.h"
#include "plan/work.h"

namespace halfsafe {
namespace {

void AddErrors(const ModelErrors& errors, ModelSummary* summary) {
  summary->runs = errors.failure.empty();
  if (!summary->runs) return;
  summary->nonfinite = errors.nonfinite_outputs.size();
  for (const OutputError& output : errors.outputs) {
    const bool number = IsFloat(output.dtype);
    auto& worst = number ? summary->worst_rel_l2 : summary->worst_flips;
    worst = std::max(worst.value_or(0.0), number ? output.rel_l2 : output.flip_share);
  }
}

/// What a plain conversion would be. Its overflow is what FP32 shows: finite values past 65504.
ModelSummary PlainSummary(const Report& report, const GraphSources& sources) {
  ModelSummary plain;
  if (sources.ranges != nullptr) {
    const auto& tensors = sources.ranges->tensors;
    plain.overflowing = std::count_if(tensors.begin(), tensors.end(), [](const TensorStats& stats) {
      return !stats.constant && stats.overflow_count > 0;
    });
  }
  const Plan plan = PlainFp16Plan(sources.model);
  const Model* const stored = sources.model.Lifted().AsStored();
  const std::optional<Model> made =
      stored != nullptr ? std::nullopt : std::optional(Apply(sources.model, plan));
  const Model& model = stored != nullptr ? *stored : *made;
  plain.bytes = model.bytes();
  plain.casts = CountCasts(model);
  if (sources.ranges != nullptr) plain.work = ShareInHalf(sources.model.Lifted(), *sources.ranges, plan);
  if (report.check && report.check->plain) AddErrors(*report.check->plain, &plain);
  return plain;
}

ModelSummary FixedSummary(const Report& report, const ReportGraph& graph, const GraphSources& sources) {
  ModelSummary fixed;
  if (sources.fixed_ranges != nullptr) {
    fixed.overflowing = std::count_if(graph.tensors.begin(), graph.tensors.end(),
                                      [](const ReportTensor& tensor) { return tensor.overflows; });
  }
  fixed.bytes = sources.fixed->bytes();
  fixed.casts = CountCasts(*sources.fixed);
  fixed.work = report.work;
  if (report.check) AddErrors(report.check->fixed, &fixed);
  return fixed;
}

}  // namespace

Comparison Compare(const Report& report, const ReportGraphs& graphs, const GraphSources& sources) {
  Comparison comparison{{}, PlainSummary(report, sources), std::nullopt};
  comparison.original.bytes = report.model_bytes;
  comparison.original.casts = CountCasts(sources.model);
  if (graphs.fixed) comparison.fixed = FixedSummary(report, *graphs.fixed, sources);
  return comparison;
}

}  // namespace halfsafe
