#include "plan/context.h"

#include <fmt/format.h>

#include "halfsafe/half.h"

namespace halfsafe {

void PlanContext::PinNode(int node, std::string_view reason, const std::string& evidence) {
  if (node < 0 || !pins[static_cast<size_t>(node)].reason.empty()) return;
  pins[static_cast<size_t>(node)] = {std::string(reason), evidence};
}

void PlanContext::PinTensor(int tensor, std::string_view reason, const std::string& evidence) {
  PinNode(ports.of(tensor).writer, reason, evidence);
  for (const int reader : ports.of(tensor).readers) PinNode(reader, reason, evidence);
}

std::string Evidence(const TensorStats& stats) {
  const std::string sample =
      stats.abs_max_sample.empty() ? "" : fmt::format(" in sample {}", stats.abs_max_sample);
  if (stats.nan_count > 0) return fmt::format("{} has {} NaN in FP32 already", stats.name, stats.nan_count);
  if (stats.inf_count > 0)
    return fmt::format("{} has {} infinite values in FP32 already", stats.name, stats.inf_count);
  return fmt::format("{} reaches {:.6g}{}", stats.name, stats.abs_max, sample);
}

bool Overflows(const TensorStats& stats, double threshold) {
  return stats.abs_max > threshold || stats.overflow_count > 0 || stats.inf_count > 0 || stats.nan_count > 0;
}

}  // namespace halfsafe
