#pragma once

#include <cstdint>
#include <optional>

#include "report/report.h"
#include "report/report_graph.h"

namespace halfsafe {

/// One model of a comparison. What is not known, or means nothing for it, is not there.
struct ModelSummary {
  bool runs = true;                     ///< False: a check could not run it.
  std::optional<uint64_t> overflowing;  ///< Tensors with values that their type cannot hold.
  std::optional<uint64_t> nonfinite;    ///< Outputs that are not finite where FP32's are.
  std::optional<double> worst_rel_l2;   ///< Of its floating-point outputs; may be infinite.
  std::optional<double>
      worst_flips;  ///< Largest share of different elements of its integer and bool outputs.
  std::optional<uint64_t> bytes;
  std::optional<uint64_t> casts;
  std::optional<WorkShare> work;
};

/// The original, what a plain conversion to FP16 makes of it, and the fixed model.
struct Comparison {
  ModelSummary original, plain;
  std::optional<ModelSummary> fixed;
};

/// Compares what `report` and `graphs` say; sizes of plain FP16 come from applying its plan, which copies no
/// weights.
Comparison Compare(const Report& report, const ReportGraphs& graphs, const GraphSources& sources);

}  // namespace halfsafe
