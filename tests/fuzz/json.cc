#include "fuzz/files.h"
#include "halfsafe/diff.h"
#include "halfsafe/engine.h"
#include "halfsafe/halfsafe.h"
#include "report/diff.h"
#include "report/engine.h"

namespace halfsafe::fuzz {
namespace {

constexpr int kWidth = 80;

/// What is written has to be what is read; only bytes that are no UTF-8 are not written as they are, and
/// those JSON doesn't have.
template <typename Value, typename Read>
void RequireSameAgain(const Value& value, Read read) {
  const std::string text = ToJson(value);
  Require(ToJson(read(text, "again")) == text, "what is written is not what was read");
}

}  // namespace

void ReadPlan(Bytes bytes) {
  MayRefuse([&] { RequireSameAgain(PlanFromJson(AsText(bytes), "plan"), PlanFromJson); });
}

void ReadRanges(Bytes bytes) {
  MayRefuse([&] {
    const RangeTable ranges = RangesFromJson(AsText(bytes), "ranges");
    RequireSameAgain(ranges, RangesFromJson);
    OverflowingTensors(ranges, 10000.0);
    const RangesDiff diff = Diff(ranges, RangeTable(), {});
    ToText(diff, kWidth, false);
    ToJson(diff);
    Require(Diff(ranges, ranges, {}).changes.empty(), "ranges differ from themselves");
    RequireSameAgain(MergeRanges({ranges, ranges}), RangesFromJson);
  });
}

void ReadLatencies(Bytes bytes) {
  MayRefuse([&] { RequireSameAgain(LatenciesFromJson(AsText(bytes), "latencies"), LatenciesFromJson); });
}

void ReadLayers(Bytes bytes) {
  static const Plan plan = [] {
    Plan held;
    held.nodes = {{"conv1", Precision::kFp32, "overflow", ""}};
    return held;
  }();
  for (const Plan* held : {static_cast<const Plan*>(nullptr), &plan}) {
    MayRefuse([&] {
      const EngineReport report = CompareLayers(LayersFromJson(AsText(bytes), "layers"), held);
      ToText(report, kWidth, false);
      ToJson(report);
    });
  }
}

}  // namespace halfsafe::fuzz
