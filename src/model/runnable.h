#pragma once

#include <optional>
#include <string_view>

#include "halfsafe/model.h"
#include "model/graph_index.h"

namespace halfsafe {

/// Whether ONNX Runtime has an operator, given its node. Operators with an ONNX schema and those of ONNX
/// Runtime's own domains count as known; others are known when a custom operator library says so, which only
/// loading can tell.
bool MayRun(const NodeInfo& node, bool custom_ops_loaded);

/// The part of a model that runs: without the operators at its tail that ONNX Runtime lacks (EfficientNMS_TRT
/// and other plugins of an engine) or whose results can't be compared (ZipMap), and what only they feed. What
/// they read becomes an output in place of what they wrote, named "tail:NODE:SLOT" beside the outputs that
/// stay. Nothing where the whole model runs. Throws Error(kBadInput) that names node and option where such an operator feeds others that do run.
std::optional<Model> RunnablePart(const Model& model, bool custom_ops_loaded);

/// Prefix of the outputs that stand for the inputs of a tail that was cut off.
inline constexpr std::string_view kTailPrefix = "tail:";

}  // namespace halfsafe
