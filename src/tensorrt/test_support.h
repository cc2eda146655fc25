#pragma once

#include "data/test_support.h"
#include "halfsafe/engine.h"

namespace halfsafe {

inline constexpr DType kHalf = DType::kFloat16, kWide = DType::kFloat;

/// What inspectors said of engines, and the plans that these were built with. conv_stack, lstm_net, magika
/// and transformer_ln are what TensorRT 8.6.1 said on an H200; what tests expect of them was read from the
/// files without the reader. layout_10 and layout_11 are written by hand after NVIDIA's documentation of
/// these versions.
inline const std::filesystem::path kRecordings =
    std::filesystem::path(HALFSAFE_SOURCE_DIR) / "tests/data/tensorrt";

inline EngineLayers RecordedLayers(std::string_view name) {
  return LayersFromJson(ReadText(kRecordings / name), name);
}

inline Plan RecordedPlan(std::string_view name) { return PlanFromJson(ReadText(kRecordings / name), name); }

}  // namespace halfsafe
