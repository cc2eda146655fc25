#pragma once

#include <string>

#include "halfsafe/engine.h"

namespace halfsafe {

// What the commands around TensorRT have to say, as tables for a terminal of `width` columns; `color` marks
// verdicts, never alone. Warnings are left to Progress::Warn, which has shown them when they came.

std::string ToText(const BuildResult& result, int width, bool color);
std::string ToText(const EngineReport& report, int width, bool color);
std::string ToText(const TraceResult& result, int width, bool color);
std::string ToText(const BenchResult& result, int width, bool color);

}  // namespace halfsafe
