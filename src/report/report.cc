#include "report/report.h"

#include <fmt/format.h>

#include <algorithm>

#include "halfsafe/half.h"
#include "model/graph_index.h"
#include "report/gain.h"

namespace halfsafe {

namespace {

OverflowRow RowOf(const GraphIndex& index, const TensorStats& stats) {
  OverflowRow row;
  row.tensor = stats.name;
  row.stats = stats;
  const int tensor = index.FindTensor(stats.name);
  if (tensor >= 0 && index.tensor(tensor).producer >= 0) {
    row.node = index.node(index.tensor(tensor).producer).name;
    row.op_type = index.node(index.tensor(tensor).producer).proto->op_type();
  }
  return row;
}

void WorstFirst(std::vector<OverflowRow>* rows) {
  std::stable_sort(rows->begin(), rows->end(), [](const OverflowRow& a, const OverflowRow& b) {
    const bool a_broken = a.stats.nan_count + a.stats.inf_count > 0,
               b_broken = b.stats.nan_count + b.stats.inf_count > 0;
    return a_broken != b_broken ? a_broken : a.stats.abs_max > b.stats.abs_max;
  });
}

void CountFloats(const Model& model, Report* report) {
  const GraphIndex& index = model.index();
  const auto is_float = [&](int tensor) { return tensor >= 0 && IsFloat(index.tensor(tensor).dtype); };
  report->tensors =
      static_cast<uint64_t>(std::ranges::count_if(index.tensors(), [](const TensorInfo& tensor) {
        return tensor.kind != TensorKind::kConstant && IsFloat(tensor.dtype);
      }));
  report->nodes = static_cast<uint64_t>(std::ranges::count_if(index.nodes(), [&](const NodeInfo& node) {
    return std::ranges::any_of(node.inputs, is_float) || std::ranges::any_of(node.outputs, is_float);
  }));
}

}  // namespace

void AddRanges(const Model& model, const RangeTable& ranges, double threshold, Report* report) {
  const GraphIndex& index = model.Lifted().index();
  report->samples = ranges.samples;
  report->skipped = ranges.skipped;
  report->threshold = threshold;
  for (const std::string& name : OverflowingTensors(ranges, threshold))
    report->overflowing.push_back(RowOf(index, *ranges.Find(name)));
  WorstFirst(&report->overflowing);
  for (const TensorStats& stats : ranges.tensors) {
    if (!stats.constant) ++report->tensors;
    if (stats.constant && stats.overflow_count > 0) {
      report->out_of_range_weights.push_back(fmt::format("{} (max |x| {:.4g})", stats.name, stats.abs_max));
    }
    if (stats.sum_bound && *stats.sum_bound > kHalfMax && stats.abs_max <= kHalfMax)
      report->partial_sums.push_back(stats.name);
  }
}

void AddPlan(const Model& whole, const RangeTable* ranges, const Plan& plan, Report* report) {
  const Model& model = whole.Lifted();
  const GraphIndex& index = model.index();
  report->nodes = plan.nodes.size();
  report->half = plan.half;
  for (const auto& [precision, nodes] :
       {std::pair{Precision::kFp32, &report->fp32_nodes}, std::pair{Precision::kBf16, &report->bf16_nodes}}) {
    for (const NodePlan* node : plan.NodesIn(precision)) {
      const int id = index.FindNode(node->name);
      nodes->push_back(
          {node->name, id < 0 ? "" : index.node(id).proto->op_type(), node->reason, node->evidence});
    }
  }
  report->constants = plan.constants;
  report->rescaled = plan.tensors;
  report->warnings.insert(report->warnings.end(), plan.warnings.begin(), plan.warnings.end());
  if (ranges != nullptr) report->work = ShareInHalf(model, *ranges, plan);
}

void AddFixedOverflow(const Model& fixed, const std::vector<TensorStats>& overflow, double threshold,
                      Report* report) {
  report->threshold = threshold;
  report->fixed_overflowing.emplace();
  for (const TensorStats& stats : overflow) report->fixed_overflowing->push_back(RowOf(fixed.index(), stats));
  WorstFirst(&*report->fixed_overflowing);
}

void AddFixed(const Model& fixed, const std::string& path, Report* report) {
  report->fixed_path = path;
  report->fixed_bytes = fixed.bytes();
  report->casts = CountCasts(fixed);
}

void WarnOfCpu(const Model& fixed, const std::optional<CpuResult>& result, Report* report) {
  const auto& tensors = fixed.index().tensors();
  const bool bf16 = std::any_of(tensors.begin(), tensors.end(), [](const TensorInfo& tensor) {
    return tensor.producer >= 0 && tensor.dtype == DType::kBfloat16;
  });
  if (!result && bf16)
    report->warnings.push_back(
        "the fixed model has BF16 nodes, which ONNX Runtime's CPU provider does not run");
  if (!result || result->runs) return;
  const int node = result->node.empty() ? -1 : fixed.index().FindNode(result->node);
  const std::string which =
      node < 0 ? "" : fmt::format("node {} ({}): ", result->node, fixed.index().node(node).proto->op_type());
  report->warnings.push_back(
      fmt::format("ONNX Runtime's CPU provider does not {} the fixed model: {}{}{}{}", result->stage, which,
                  result->message, node < 0 ? "" : "; fix with --runs-on-cpu keeps such nodes in FP32",
                  result->runs_at_basic ? "; at its optimization level \"basic\" it does" : ""));
}

void AddVerdict(const Model& original, const Model& fixed, bool right, Report* report) {
  if (right) report->little_gained = LittleGained(original, fixed, *report);
  report->verdict = !right ? "not-right" : report->little_gained.empty() ? "right" : "little-gained";
}

void AddCheck(const Model& original, const Model& fixed, CheckResult result, Report* report) {
  CountFloats(fixed, report);
  for (const std::string& output : result.outputs_past_type) {
    report->warnings.push_back(
        fmt::format("output {} passes, in FP32, the 16-bit type that the file has it in: fix with --io fp32 "
                    "makes it FP32",
                    output));
  }
  WarnOfCpu(fixed, result.on_cpu, report);
  AddVerdict(original, fixed, result.Right(), report);
  report->check = std::move(result);
}

void AddFix(const Model& model, const FixResult& fix, const FixOptions& options, const std::string& path,
            Report* report) {
  AddRanges(model, fix.ranges, options.plan.threshold, report);
  AddPlan(model, &fix.ranges, fix.plan, report);
  AddFixed(fix.fixed, path, report);
  report->tolerance = options.check.tolerance;
  report->widenings = fix.widenings;
  report->narrowing = fix.narrowing;
  WarnOfCpu(fix.fixed, fix.check.on_cpu, report);
  if (!fix.check.fixed.outputs.empty()) report->check = fix.check;
  report->holdout = fix.holdout;
  AddVerdict(model, fix.fixed, fix.right, report);
}

}  // namespace halfsafe
