#include "plan/context.h"

#include <fmt/format.h>

#include <cmath>

namespace halfsafe {
namespace {

/// The end of a long name: it is said of every node that a tensor touches.
std::string EndOf(const std::string& name) {
  constexpr size_t kLongest = 256;
  return name.size() <= kLongest ? name : "..." + name.substr(name.size() - kLongest);
}

}  // namespace

void PlanContext::PinNode(int node, std::string_view reason, const std::string& evidence) {
  if (node < 0) return;
  Pin& pin = pins[static_cast<size_t>(node)];
  if (pin.reason.empty()) {
    pin = {std::string(reason), evidence, range_rule};
  } else {
    pin.range = pin.range && range_rule;
  }
}

void PlanContext::PinTensor(int tensor, std::string_view reason, const std::string& evidence) {
  PinNode(ports.of(tensor).writer, reason, evidence);
  for (const int reader : ports.of(tensor).readers) PinNode(reader, reason, evidence);
}

int PlanContext::ReadExponent(int tensor, size_t reader) const {
  const auto& uses = index.tensor(tensor).uses;
  if (reader < uses.size())
    return read_exponents[static_cast<size_t>(uses[reader].node)][static_cast<size_t>(uses[reader].slot)];
  const auto& output = ports.outputs_of(tensor)[reader - uses.size()];
  return scales.ReturnedExponent(output.graph, output.slot, exponents);
}

std::string StoredTimes(int exponent) {
  return exponent == 0 ? "" : fmt::format(", stored times 2^{}", -exponent);
}

std::string Evidence(const TensorStats& stats, int exponent) {
  const std::string sample =
      stats.abs_max_sample.empty() ? "" : fmt::format(" in sample {}", EndOf(stats.abs_max_sample));
  const std::string scaled =
      exponent == 0 ? ""
                    : fmt::format("{}: {:.6g}", StoredTimes(exponent), std::ldexp(stats.abs_max, -exponent));
  return fmt::format("{} reaches {:.6g}{}{}", stats.name, stats.abs_max, sample, scaled);
}

bool PassesThreshold(const TensorStats& stats, double threshold, int exponent) {
  return std::ldexp(stats.abs_max, -exponent) > threshold || (exponent == 0 && stats.overflow_count > 0);
}

bool Overflows(const TensorStats& stats, double threshold) {
  return PassesThreshold(stats, threshold, 0) || stats.inf_count > 0 || stats.nan_count > 0;
}

}  // namespace halfsafe
