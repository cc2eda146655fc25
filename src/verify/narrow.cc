#include <algorithm>
#include <chrono>

#include "halfsafe/check.h"
#include "halfsafe/rewrite.h"
#include "verify/candidate.h"

namespace halfsafe {
namespace {

using Clock = std::chrono::steady_clock;

/// One sample of a source, as a source.
class OneSample : public SampleSource {
 public:
  OneSample(const SampleSource& source, uint64_t index) : source_(source), index_(index) {}
  uint64_t size() const override { return 1; }
  Sample Read(uint64_t) const override { return source_.Read(index_); }

 private:
  const SampleSource& source_;
  uint64_t index_;
};

/// Tries sets of nodes in FP16.
class Narrower {
 public:
  Narrower(const Model& original, Plan* plan, const SampleSource& samples, const CheckResult& check,
           const CheckOptions& options, double seconds)
      : original_(original),
        plan_(plan),
        samples_(samples),
        options_(options),
        hardest_(FindSample(samples, Hardest(check))),
        hard_(samples, hardest_),
        seconds_(seconds),
        start_(Clock::now()) {
    options_.plain = false;
    options_.save_outputs.clear();
    hard_options_ = options_;
    if (options_.kept_outputs != nullptr && options_.kept_outputs->complete) {
      hard_outputs_.samples = {options_.kept_outputs->samples[hardest_]};
      hard_outputs_.complete = true;
      hard_options_.kept_outputs = &hard_outputs_;
    }
  }

  bool MayGoOn() const {
    const std::chrono::duration<double> spent = Clock::now() - start_;
    return spent.count() < seconds_;
  }

  /// Puts the entries into FP16 if the check stays right.
  bool TakeBack(const std::vector<size_t>& entries) {
    ++checks;
    Plan changed = *plan_;
    for (const size_t entry : entries) {
      changed.nodes[entry].precision = Precision::kFp16;
      changed.nodes[entry].reason = "safe";
      changed.nodes[entry].evidence = "FP32 was tried for its error and is not needed";
    }
    const Model fixed = Apply(original_, changed);
    // The hardest sample alone tells most wrong sets.
    Progress silent;
    if (!Check(original_, fixed, hard_, hard_options_, &silent).fixed.right) return false;
    if (samples_.size() > 1 && !Check(original_, fixed, samples_, options_, &silent).fixed.right)
      return false;
    *plan_ = std::move(changed);
    return true;
  }

  uint64_t checks = 0;

 private:
  /// The sample whose worst output is nearest to its tolerance.
  static std::string Hardest(const CheckResult& check) {
    const auto& outputs = check.fixed.outputs;
    const auto worst =
        std::max_element(outputs.begin(), outputs.end(),
                         [](const OutputError& a, const OutputError& b) { return a.rel_l2 < b.rel_l2; });
    return worst == outputs.end() ? "" : worst->rel_l2_sample;
  }

  const Model& original_;
  Plan* plan_;
  const SampleSource& samples_;
  CheckOptions options_, hard_options_;
  KeptOutputs hard_outputs_;
  uint64_t hardest_;
  OneSample hard_;
  double seconds_;
  Clock::time_point start_;
};

}  // namespace

Narrowing Narrow(const Model& original, Plan* plan, const SampleSource& samples, const CheckResult& check,
                 const CheckOptions& options, double seconds, Progress* progress) {
  Narrowing result;
  std::vector<size_t> left;
  for (size_t entry = 0; entry < plan->nodes.size(); ++entry) {
    if (plan->nodes[entry].precision == Precision::kFp32 && plan->nodes[entry].reason == "error")
      left.push_back(entry);
  }
  result.minimal = left.empty();
  if (left.empty()) return result;
  Narrower narrower(original, plan, samples, check, options, seconds);
  progress->Begin("narrow", 0);
  // Halves, quarters, and so on to single nodes. One node less may make another one removable, so single
  // nodes go round until none is.
  bool any = true;
  for (size_t size = (left.size() + 1) / 2; (size > 1 || any) && narrower.MayGoOn();
       size = std::max<size_t>(1, size / 2)) {
    any = false;
    size_t begin = 0;
    while (begin < left.size() && narrower.MayGoOn()) {
      const auto first = left.begin() + static_cast<std::ptrdiff_t>(begin);
      const auto last = left.begin() + static_cast<std::ptrdiff_t>(std::min(left.size(), begin + size));
      const std::vector<size_t> group(first, last);
      progress->Step();
      if (!narrower.TakeBack(group)) {
        begin += size;
        continue;
      }
      any = true;
      for (const size_t entry : group) result.nodes.push_back(plan->nodes[entry].name);
      left.erase(first, last);
    }
    result.minimal = size == 1 && !any && begin >= left.size();
    any = any || size > 1;
  }
  progress->End();
  result.checks = narrower.checks;
  result.minimal = result.minimal || left.empty();
  return result;
}

}  // namespace halfsafe
