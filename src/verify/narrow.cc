#include <algorithm>
#include <chrono>
#include <map>
#include <set>

#include "halfsafe/check.h"
#include "halfsafe/rewrite.h"
#include "model/lifted_samples.h"
#include "verify/judge.h"
#include "verify/probe.h"

namespace halfsafe {
namespace {

using Clock = std::chrono::steady_clock;

/// Without a limit in seconds: counts, so that the result does not depend on the machine.
constexpr int kMostRuns = 128;
constexpr uint64_t kMostChecks = 24;
/// Nodes that are told apart by a run of their own, when the search is over.
constexpr size_t kMostParts = 64;

void Set(Plan* plan, const std::vector<size_t>& entries, Precision precision) {
  for (const size_t entry : entries) plan->nodes[entry].precision = precision;
}

std::vector<size_t> WideForTheirError(const Plan& plan) {
  std::vector<size_t> entries;
  for (size_t entry = 0; entry < plan.nodes.size(); ++entry) {
    if (plan.nodes[entry].precision == Precision::kFp32 && plan.nodes[entry].reason == "error")
      entries.push_back(entry);
  }
  return entries;
}

/// The plan with all of these in 16 bits: what of it is FP32 is then the probe's to choose.
Plan AllTakenBack(const Plan& plan, const std::vector<size_t>& entries) {
  Plan changed = plan;
  Set(&changed, entries, plan.half);
  return changed;
}

/// Keeps only some nodes in FP32. The probe, on one sample, rules most choices out; a judge of all samples
/// decides.
class Narrower : public ProbeTrial {
 public:
  /// `narrow` has all of them in 16 bits, and `probe` is of that plan.
  Narrower(const Model& original, const Plan& narrow, std::optional<double> seconds, Clock::time_point start,
           Judge* judge, Probe* probe, Progress* progress)
      : ProbeTrial(probe),
        original_(original),
        narrow_(narrow),
        judge_(judge),
        seconds_(seconds),
        start_(start),
        progress_(progress) {}

  bool Enough(const std::vector<size_t>& entries) override {
    const auto [known, is_new] = known_.try_emplace(entries, false);
    if (!is_new) return known->second;
    progress_->Step();
    ++runs_;
    if (!Fits(entries, kAim)) return false;
    ++checks;
    Plan changed = narrow_;
    Set(&changed, entries, Precision::kFp32);
    return known->second = judge_->Right(Apply(original_, changed));
  }
  bool MayGoOn() override {
    const std::chrono::duration<double> spent = Clock::now() - start_;
    return seconds_ ? spent.count() < *seconds_ : runs_ < kMostRuns && checks < kMostChecks;
  }

  uint64_t checks = 0;

 private:
  const Model& original_;
  const Plan& narrow_;
  Judge* judge_;
  std::optional<double> seconds_;
  Clock::time_point start_;
  Progress* progress_;
  std::map<std::vector<size_t>, bool> known_;
  int runs_ = 0;
};

}  // namespace

Narrowing Narrow(const Model& given, Plan* plan, const SampleSource& given_samples, const CheckResult& check,
                 const CheckOptions& the_options, std::optional<double> seconds, Progress* progress) {
  const Model& original = given.Lifted();
  const LiftedSamples lifted_samples(original, given_samples, progress);
  const SampleSource& samples = lifted_samples.source();
  CheckOptions options = the_options;
  options.rules = &check.rules;
  Narrowing result;
  const std::vector<size_t> entries = WideForTheirError(*plan);
  result.minimal = entries.empty();
  // The probe and what it proposes would both be in memory.
  if (entries.empty() || OneAtATime(original, options)) return result;
  progress->Begin("narrow", 0);
  const Clock::time_point start = Clock::now();
  const Plan narrow = AllTakenBack(*plan, entries);
  Probe probe(original, narrow, samples, WorstSample(samples, check.fixed), options);
  Judge judge(original, samples, options, probe.hardest());
  Narrower narrower(original, narrow, seconds, start, &judge, &probe, progress);
  const Minimum minimum = Minimize(entries, (entries.size() + 1) / 2, &narrower);
  std::set<size_t> left(minimum.left.begin(), minimum.left.end());
  OwnParts parts = FindOwnParts(&probe, left, kMostParts);
  // What each of them does is less than what the draws differ by; perhaps it is so of all of them.
  if (!parts.within_spread.empty() && parts.within_spread.size() < left.size()) {
    std::set<size_t> rest = left;
    for (const size_t entry : parts.within_spread) rest.erase(entry);
    if (narrower.Enough({rest.begin(), rest.end()})) {
      left = std::move(rest);
      parts = FindOwnParts(&probe, left, kMostParts);
    }
  }
  for (auto& [entry, evidence] : parts.evidence) plan->nodes[entry].evidence = std::move(evidence);
  progress->End();
  for (const size_t entry : entries) {
    if (left.contains(entry)) continue;
    NodePlan& node = plan->nodes[entry];
    node.precision = plan->half;
    node.reason = "safe";
    node.evidence = "FP32 was tried for its error and is not needed";
    result.nodes.push_back(node.name);
  }
  result.checks = narrower.checks;
  result.minimal = minimum.minimal;
  return result;
}

}  // namespace halfsafe
