#pragma once

#include <vector>

#include "halfsafe/engine.h"
#include "tensorrt/backend.h"

namespace halfsafe {

/// What the samples ask of an engine. Free dimensions span what occurs; the optimum is the shape that occurs
/// most, or the first of those.
struct SampleShapes {
  ShapeProfile profile;            ///< Inputs with free dimensions only.
  std::vector<ValueRange> values;  ///< Of integer inputs of at most 64 elements, which may decide shapes.
};

/// Reads every sample once. Throws Error(kBadInput) for samples that don't fit the model.
SampleShapes ShapesOfSamples(const std::vector<InputSpec>& inputs, const SampleSource& samples);

/// Throws Error(kUsage) unless each profile gives every input that has free dimensions, once, in the right
/// rank, with min <= opt <= max and the model's own sizes where they are fixed.
void CheckProfiles(const std::vector<InputSpec>& inputs, const std::vector<ShapeProfile>& profiles);

}  // namespace halfsafe
