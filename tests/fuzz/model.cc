#include <onnx/onnx_pb.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <optional>

#include "base/file.h"
#include "base/test_folder.h"
#include "fuzz/files.h"
#include "halfsafe/engine.h"
#include "halfsafe/halfsafe.h"
#include "model/graph_index.h"
#include "report/html.h"
#include "report/inspect.h"
#include "report/report.h"

namespace halfsafe::fuzz {
namespace {

constexpr int kWidth = 80;
/// Larger models find nothing that smaller ones don't, and take long.
constexpr size_t kMostNodes = 300;

/// A folder with the file that external data may lie in: "weights", of 256 bytes.
struct WeightsFolder : TempFolder {
  WeightsFolder() { WriteFileAtomically(*this / "weights", std::string(256, 'w')); }
};

const TempFolder& ModelFolder() {
  static const WeightsFolder folder;
  return folder;
}

/// Ranges that a scan could have found, from the names of tensors alone: some within FP16, some far past it,
/// some not finite.
RangeTable MadeUpRanges(const Model& model, RangeTable constants) {
  RangeTable ranges = std::move(constants);
  constexpr double kPeaks[] = {0.0, 1e-30, 1e-6, 1.0, 900.0, 7e4, 1e9, 3e38};
  for (const TensorInfo& tensor : model.index().tensors()) {
    if (!tensor.is_tensor || !IsFloat(tensor.dtype) || tensor.kind == TensorKind::kConstant) continue;
    const size_t hash = std::hash<std::string>()(tensor.name);
    TensorStats stats;
    stats.name = tensor.name;
    stats.dtype = tensor.dtype;
    stats.count = hash / 8 % 3;
    if (stats.count > 0) {
      stats.abs_max = stats.max = kPeaks[hash % 8];
      stats.min = hash / 64 % 2 == 0 ? -stats.max : 0.0;
      stats.abs_sum = stats.abs_max * static_cast<double>(stats.count);
      if (stats.max > 0.0) stats.exponents[std::ilogb(stats.max)] = stats.count;
      if (hash / 128 % 2 == 0) stats.sum_bound = stats.abs_max * 3.0;
      if (hash / 256 % 4 == 0) stats.row_max_min = -stats.abs_max;
      stats.abs_max_sample = "sample";
    }
    stats.overflow_count = stats.abs_max > 65504.0 ? 1 : 0;
    stats.inf_count = hash / 512 % 16 == 0 ? 1 : 0;
    stats.nan_count = hash / 8192 % 16 == 0 ? 1 : 0;
    ranges.tensors.push_back(std::move(stats));
  }
  ranges.samples = 1;
  return ranges;
}

PlanOptions SomeOptions(size_t hash) {
  PlanOptions options;
  options.repair = static_cast<Repair>(hash % 4);
  options.io = hash / 4 % 2 == 0 ? Interface::kFp16 : Interface::kKeep;
  options.accumulate_fp16 = hash / 8 % 2 == 0;
  options.free_casts = hash / 16 % 2 == 0;
  if (options.io != Interface::kFp16 && hash / 32 % 2 == 0) options.half = Precision::kBf16;
  return options;
}

/// What was accepted once has to be accepted as it is written.
void RequireReadable(const Model& model) {
  const std::string bytes = model.ToBytes();
  Model::Parse(AsBytes(bytes), ModelFolder() / "again.onnx").index();
}

void WriteReport(const Model& model, const RangeTable& ranges, const Plan& plan, const Model& fixed) {
  Report report;
  report.command = "fix";
  report.model_path = model.path().string();
  AddRanges(model, ranges, report.threshold, &report);
  AddPlan(model, &ranges, plan, &report);
  AddFixed(fixed, "fixed.onnx", &report);
  ToText(report, kWidth, false);
  ToJson(report);
  ToHtml(report, {model, &ranges, report.threshold, &plan, &fixed, nullptr});
}

void PlanAndApply(const Model& model, const RangeTable& ranges, const PlanOptions& options) {
  const Plan plan = MakePlan(model, ranges, options);
  const Model fixed = Apply(model, plan);
  RequireReadable(fixed);
  PlanFromJson(ToJson(plan), "plan");
  if (!plan.nodes.empty()) Explain(model, ranges, plan, plan.nodes.front().name);
  WriteReport(model, ranges, plan, fixed);
  const WeaklyTyped weak = ApplyWeakly(model, plan);
  RequireReadable(weak.model);
  TrtexecArguments(weak);
  PolygraphyScript(weak);
}

void Mark(const Model& model) {
  try {
    RequireReadable(MarkOutputs(model, ".*"));
  } catch (const Error& error) {
    if (error.code() != ExitCode::kUsage) throw;  // Nothing to mark.
  }
}

/// What `fix` asks before it runs anything.
void AskForNothing(const Model& model) {
  for (const Precision half : {Precision::kFp16, Precision::kBf16}) {
    if (const std::optional<Plan> plan = PlanForNothing(model, half)) RequireReadable(Apply(model, *plan));
  }
}

void EveryStage(const Model& model, size_t hash) {
  const Inspection inspection = Inspect(model);
  ToText(inspection, kWidth, false);
  ToJson(inspection);
  Mark(model);
  AskForNothing(model);
  const Model plain = Apply(model, PlainFp16Plan(model));
  RequireReadable(plain);
  AccumulateInFp32(plain);
  const RangeTable constants = ScanConstants(model);
  PlanAndApply(model, constants, {});
  PlanAndApply(model, MadeUpRanges(model, constants), SomeOptions(hash));
}

}  // namespace

void ReadModel(Bytes bytes) {
  MayRefuse([&] {
    const Model model = Model::Parse(bytes, ModelFolder() / "model.onnx");
    if (model.index().nodes().size() > kMostNodes) return;
    EveryStage(model, std::hash<std::string_view>()(AsText(bytes)));
  });
}

void ConvertOpset(Bytes bytes) {
  MayRefuse([&] {
    for (const int opset : {13, 18, 21, 22}) {
      Model model = Model::Parse(bytes, ModelFolder() / "model.onnx");
      if (model.index().nodes().size() > kMostNodes) return;
      try {
        model.RaiseOpset(opset);
      } catch (const Error& error) {
        if (error.code() != ExitCode::kUsage) throw;  // It is newer already.
        continue;
      }
      RequireReadable(model);
    }
  });
}

}  // namespace halfsafe::fuzz
