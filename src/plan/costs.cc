#include "plan/costs.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <unordered_map>

#include "halfsafe/error.h"
#include "plan/work.h"

namespace halfsafe {
namespace {

/// Estimates are in bytes of memory traffic, which is what most layers wait for on a GPU. A multiply-add in
/// FP32 instead of on FP16 tensor cores costs about as much time as a fifth of a byte (H100: 3.35 TB/s, 67
/// against 990 TFLOP/s dense). Every extra kernel (a Cast) costs its launch, about 2 us, of which a graph of
/// kernels hides most: 64 KiB.
constexpr double kBytesPerMultiplyAdd = 0.2;
constexpr double kLaunch = 65536.0;
/// What that GPU's memory moves, to put latencies beside estimates.
constexpr double kBytesPerMicrosecond = 3.35e6;
/// BF16 is as fast as FP16 and has fewer bits, so it is for what FP16's range rules out: this share of what
/// FP32 costs more, and at least kLeastBf16Cost, keeps it from anywhere else.
constexpr double kBf16Share = 1.0 / 16.0;
constexpr double kLeastBf16Cost = 1.0;
/// Keeps sums over a model, each three times, far inside an int64_t (see PrecisionProblem).
constexpr double kMostCost = 1e12;

constexpr auto kFp16 = static_cast<size_t>(Precision::kFp16);
constexpr auto kBf16 = static_cast<size_t>(Precision::kBf16);
constexpr auto kFp32 = static_cast<size_t>(Precision::kFp32);

double ElementsPerSample(const PlanContext& context, int tensor) {
  return ElementsPerSample(context.index, context.ranges, tensor);
}

int64_t Whole(double cost) { return static_cast<int64_t>(std::llround(std::min(cost, kMostCost))); }

/// What FP32 costs a node more than FP16: two bytes for every float element read or written, and its
/// multiply-adds.
double Fp32Estimate(const PlanContext& context, const NodeInfo& node) {
  double cost = 1.0 + kBytesPerMultiplyAdd * MultiplyAdds(context.index, context.ranges, node);
  for (const auto* list : {&node.inputs, &node.outputs}) {
    for (const int tensor : *list) {
      if (tensor >= 0 && IsFloat(context.index.tensor(tensor).dtype))
        cost += 2.0 * ElementsPerSample(context, tensor);
    }
  }
  return cost;
}

double BytesOf(const Latencies& table, double microseconds) {
  return std::min(microseconds / table.batch * table.bytes_per_us.value_or(kBytesPerMicrosecond), kMostCost);
}

/// The nodes that an entry is about: one, or those of a fused layer, whose names are joined by " + ".
std::vector<int> NodesOf(const std::string& name, const std::unordered_map<std::string, int>& nodes) {
  static constexpr std::string_view kJoin = " + ";
  if (const auto whole = nodes.find(name); whole != nodes.end()) return {whole->second};
  std::vector<int> found;
  for (size_t begin = 0; begin <= name.size();) {
    const size_t end = std::min(name.find(kJoin, begin), name.size());
    if (const auto part = nodes.find(name.substr(begin, end - begin)); part != nodes.end())
      found.push_back(part->second);
    begin = end + kJoin.size();
  }
  return found;
}

/// Bytes, by precision.
using Traffic = PerPrecision<double>;

Traffic MeasuredTraffic(const Latencies& table, const NodeLatency& latency) {
  Traffic traffic;
  traffic[kFp16] = BytesOf(table, latency.fp16_us);
  traffic[kFp32] = BytesOf(table, latency.fp32_us);
  traffic[kBf16] = latency.bf16_us ? BytesOf(table, *latency.bf16_us)
                                   : traffic[kFp16] + kBf16Share * std::abs(traffic[kFp32] - traffic[kFp16]);
  return traffic;
}

PerPrecision<int64_t> AboveTheLeast(const Traffic& traffic) {
  const double least = *std::min_element(traffic.begin(), traffic.end());
  PerPrecision<int64_t> cost;
  for (size_t i = 0; i < cost.size(); ++i) cost[i] = Whole(traffic[i] - least);
  return cost;
}

}  // namespace

std::vector<PerPrecision<int64_t>> NodeCosts(PlanContext* context) {
  std::vector<PerPrecision<int64_t>> costs;
  std::vector<double> estimates;
  std::unordered_map<std::string, int> numbers;
  for (const NodeInfo& node : context->index.nodes()) {
    numbers[node.name] = static_cast<int>(costs.size());
    estimates.push_back(Fp32Estimate(*context, node));
    const double bf16 = context->options.half == Precision::kBf16
                            ? 0.0
                            : std::max(estimates.back() * kBf16Share, kLeastBf16Cost);
    costs.push_back({0, Whole(bf16), Whole(std::max(estimates.back(), bf16 + 1.0))});
  }
  const Latencies& table = context->options.latencies;
  std::vector<std::string> unknown;
  std::map<size_t, Traffic> measured;  // A node may take part in several layers.
  for (const NodeLatency& latency : table.nodes) {
    const std::vector<int> nodes = NodesOf(latency.name, numbers);
    if (nodes.empty()) unknown.push_back(latency.name);
    // A fused layer's latency is dealt out by what its nodes are estimated to cost.
    double total = 0.0;
    for (const int node : nodes) total += estimates[static_cast<size_t>(node)];
    const Traffic traffic = MeasuredTraffic(table, latency);
    for (const int node : nodes) {
      const auto id = static_cast<size_t>(node);
      Traffic& of_node = measured[id];
      for (size_t i = 0; i < traffic.size(); ++i) of_node[i] += traffic[i] * estimates[id] / total;
    }
  }
  for (const auto& [id, traffic] : measured) costs[id] = AboveTheLeast(traffic);
  if (!unknown.empty() && unknown.size() == table.nodes.size()) {
    throw BadInput(fmt::format("none of the {} names in the latencies is a node of {}; the first is {}",
                               unknown.size(), context->model.path().string(), unknown.front()));
  }
  if (!unknown.empty()) {
    context->warnings.push_back(fmt::format("latencies of {} layers that are no nodes of the model: {}{}",
                                            unknown.size(), unknown.front(),
                                            unknown.size() > 1 ? ", ..." : ""));
  }
  return costs;
}

int64_t CastCost(const PlanContext& context, int tensor) {
  if (context.options.free_casts) return 0;
  constexpr double kBytes = 6.0;  // Four read and two written, or the reverse.
  const Latencies& table = context.options.latencies;
  const double launch = table.cast_us ? BytesOf(table, *table.cast_us) : kLaunch;
  return Whole(launch + kBytes * ElementsPerSample(context, tensor));
}

}  // namespace halfsafe
