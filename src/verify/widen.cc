#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include "halfsafe/check.h"
#include "halfsafe/rewrite.h"
#include "model/lifted_samples.h"
#include "verify/compare.h"
#include "verify/judge.h"
#include "verify/probe.h"

namespace halfsafe {
namespace {

/// How often a widening step splits a group of roundings to find the harmful ones.
constexpr int kMostSplits = 10;
/// Runs that leaving out what isn't needed may take, and what it may leave: other samples want some of it
/// back.
constexpr size_t kMostPrunes = 16;
constexpr double kPruneTo = 0.75;
/// A cost (see Probe::Cost) that is not worth more runs to lower.
constexpr double kCheapEnough = 0.1;

/// The distance to reach. The check found a sample past the tolerance; where the probe, whose session is
/// another one, finds it just within, it still has to come down.
double Aim(const Probe& probe) { return kAim * std::min(1.0, probe.worst()); }

/// A run of neighbouring roundings and what they do together.
struct Group {
  size_t begin = 0, end = 0;  ///< In the probing order.
  double harm = 0.0;  ///< Square of the distance with only these on: independent roundings add up in squares.
};

/// A group, the plan entries that would have to be FP32 for it to go away, and its harm for their cost.
struct Choice {
  Group group;
  std::set<size_t> entries;
  double value = 0.0;
};

double CostOf(const Probe& probe, const std::set<size_t>& entries) {
  double cost = 0.0;
  for (const size_t entry : entries) cost += probe.Cost(entry);
  return cost;
}

std::vector<Choice> RankChoices(const Probe& probe, const std::vector<size_t>& order,
                                const std::vector<Group>& groups) {
  std::vector<Choice> choices;
  for (const Group& group : groups) {
    Choice choice{group, {}, 0.0};
    for (size_t i = group.begin; i < group.end; ++i) {
      const std::set<size_t>& entries = probe.EntriesOf(order[i]);
      choice.entries.insert(entries.begin(), entries.end());
    }
    choice.value = group.harm / std::max(CostOf(probe, choice.entries), 1e-9);
    choices.push_back(std::move(choice));
  }
  std::stable_sort(choices.begin(), choices.end(),
                   [](const Choice& a, const Choice& b) { return a.value > b.value; });
  return choices;
}

/// What it would cost to take away the most harm for the least cost until the rest should fit the aim.
double CostOfEnough(const Probe& probe, const std::vector<Choice>& choices) {
  double harm = 0.0;
  for (const Choice& choice : choices) harm += choice.group.harm;
  // Roundings that go the same way add up to more than their squares, so harm is scaled to what all of them
  // did.
  const double scale = std::max(1.0, probe.worst() * probe.worst() / harm);
  if (!std::isfinite(harm) || !std::isfinite(scale)) return INFINITY;
  std::set<size_t> entries;
  for (const Choice& choice : choices) {
    if (harm * scale <= Aim(probe) * Aim(probe)) break;
    harm -= choice.group.harm;
    entries.insert(choice.entries.begin(), choice.entries.end());
  }
  return CostOf(probe, entries);
}

/// Measures the first half of the group, which becomes that half, and returns the other one. Where the first
/// has nearly all of the harm or nearly none, the other's is what is left, unmeasured.
Group Split(Probe* probe, const std::vector<size_t>& order, Group* group) {
  constexpr double kNearlyAll = 0.9;
  const auto harm = [&](size_t begin, size_t end) {
    const double distance = probe->Distance(probe->Only(order, begin, end));
    return distance * distance;
  };
  const double whole = group->harm;
  Group other{(group->begin + group->end) / 2, group->end, 0.0};
  *group = {group->begin, other.begin, harm(group->begin, other.begin)};
  const bool all = group->harm >= kNearlyAll * whole, none = group->harm <= (1.0 - kNearlyAll) * whole;
  if (std::isfinite(group->harm) && (all || none)) {
    other.harm = std::max(whole - group->harm, 0.0);
  } else {
    other.harm = harm(other.begin, other.end);
  }
  return other;
}

bool Divisible(const Group& group) { return group.end - group.begin > 1 && group.harm > 0.0; }

/// The most harmful groups that can be split: one, or two where the second has a fair part of the harm.
std::vector<Group*> NextToSplit(std::vector<Group>* groups) {
  constexpr double kFairPart = 0.1;
  std::stable_sort(groups->begin(), groups->end(), [](const Group& a, const Group& b) {
    return std::pair(Divisible(a), a.harm) > std::pair(Divisible(b), b.harm);
  });
  std::vector<Group*> next;
  for (Group& group : *groups) {
    if (next.size() < 2 && Divisible(group) && group.harm >= kFairPart * groups->front().harm)
      next.push_back(&group);
  }
  return next;
}

/// Splits the roundings by halves, the most harmful groups first, until taking away enough of them is cheap
/// or the splits are spent. Returns the groups ranked by harm for cost.
std::vector<Choice> FindHarm(Probe* probe, const std::vector<size_t>& order, Progress* progress) {
  std::vector<Group> groups = {{0, order.size(), probe->worst() * probe->worst()}};
  std::vector<Choice> choices = RankChoices(*probe, order, groups);
  int splits = 0;
  while (splits < kMostSplits && !(CostOfEnough(*probe, choices) <= kCheapEnough)) {
    const std::vector<Group*> next = NextToSplit(&groups);
    if (next.empty()) break;
    std::vector<Roundings> likely;
    for (const Group* group : next)
      likely.push_back(probe->Only(order, group->begin, (group->begin + group->end) / 2));
    likely.push_back(probe->Only(order, (next[0]->begin + next[0]->end) / 2, next[0]->end));
    probe->Expect(likely);
    std::vector<Group> others;
    for (Group* group : next) {
      others.push_back(Split(probe, order, group));
      progress->Step();
      ++splits;
    }
    groups.insert(groups.end(), others.begin(), others.end());
    choices = RankChoices(*probe, order, groups);
  }
  return choices;
}

/// The entries of the shortest prefix of `choices` that brings the outputs within the aim, by measurement.
std::set<size_t> ShortestPrefix(Probe* probe, const std::vector<Choice>& choices) {
  const auto entries_of = [&](size_t count) {
    std::set<size_t> entries;
    for (size_t i = 0; i < count; ++i) entries.insert(choices[i].entries.begin(), choices[i].entries.end());
    return entries;
  };
  const auto fits = [&](size_t count) { return probe->Fits(probe->Without(entries_of(count)), Aim(*probe)); };
  size_t enough = 1, short_of = 0;
  probe->Expect(
      {probe->Without(entries_of(1)), probe->Without(entries_of(std::min<size_t>(2, choices.size())))});
  while (enough < choices.size() && !fits(enough)) {
    short_of = enough;
    enough = std::min(choices.size(), enough * 2);
  }
  while (enough - short_of > 1) {
    const size_t middle = (short_of + enough) / 2;
    (fits(middle) ? enough : short_of) = middle;
  }
  return entries_of(enough);
}

/// Leaves out what the outputs can do without, by measurement on one sample.
class Pruner : public ProbeTrial {
 public:
  Pruner(Probe* probe, Progress* progress)
      : ProbeTrial(probe), enough_(kPruneTo * Aim(*probe)), progress_(progress) {}
  bool Enough(const std::vector<size_t>& entries) override {
    progress_->Step();
    tried_.insert(With(entries));
    return !entries.empty() && Fits(entries, enough_);
  }
  bool MayGoOn() override { return tried_.size() < kMostPrunes; }

 private:
  double enough_;
  Progress* progress_;
  std::set<Roundings> tried_;
};

/// Errors partly cancel, and a group that helps need not help with each of its entries. Says in `minimal`
/// whether the check must fail without any one of what is left.
std::set<size_t> Prune(Probe* probe, const std::set<size_t>& chosen, bool* minimal, Progress* progress) {
  Pruner pruner(probe, progress);
  const Minimum minimum = Minimize({chosen.begin(), chosen.end()}, (chosen.size() + 3) / 4, &pruner);
  *minimal = minimum.minimal;
  for (size_t i = 0; *minimal && i < minimum.left.size(); ++i) {
    std::vector<size_t> fewer = minimum.left;
    fewer.erase(fewer.begin() + static_cast<std::ptrdiff_t>(i));
    *minimal = pruner.SurelyFails(fewer);  // Known from the last round.
  }
  return {minimum.left.begin(), minimum.left.end()};
}

/// A node that is BF16 for its range keeps that reason: it can't be FP16 whatever its error.
void GiveFp32(const std::string& evidence, Precision half, NodePlan* node) {
  const bool for_range =
      half == Precision::kFp16 && node->precision == Precision::kBf16 && node->reason != "cheaper-than-casts";
  node->precision = Precision::kFp32;
  node->evidence = for_range ? fmt::format("{}; in BF16, {}", node->evidence, evidence) : evidence;
  if (!for_range) node->reason = "error";
}

/// One step, for the sample `hardest`.
Widening WidenOnce(const Model& original, Plan* plan, const SampleSource& samples, uint64_t hardest,
                   const CheckOptions& options, Progress* progress) {
  Widening result;
  Probe probe(original, *plan, samples, hardest, options);
  std::vector<size_t> order;
  for (size_t tap = 0; tap < probe.size(); ++tap) {
    if (!probe.EntriesOf(tap).empty()) order.push_back(tap);
  }
  if (order.empty()) {
    result.possible = false;
    return result;
  }
  progress->Begin("probe", 0);
  const std::vector<Choice> choices = FindHarm(&probe, order, progress);
  std::set<size_t> chosen = ShortestPrefix(&probe, choices);
  if (probe.Fits(probe.Without(chosen), Aim(probe)))
    chosen = Prune(&probe, chosen, &result.minimal, progress);
  result.predicted_rel_l2 = probe.Distance(probe.Without(chosen)) * options.tolerance.rel_l2;
  const std::map<size_t, std::string> parts = FindOwnParts(&probe, chosen, kMostPrunes).evidence;
  for (const Choice& choice : choices) {
    for (const size_t entry : choice.entries) {
      NodePlan& node = plan->nodes[entry];
      if (node.precision == Precision::kFp32 || !chosen.contains(entry)) continue;
      GiveFp32(parts.at(entry), plan->half, &node);
      result.nodes.push_back(node.name);
    }
  }
  progress->End();
  result.possible = !result.nodes.empty();
  return result;
}

/// Up to this many samples a whole check is the quickest way to the next that is wrong.
constexpr uint64_t kFewSamples = 32;

}  // namespace

Widening Widen(const Model& given, Plan* plan, const SampleSource& given_samples, const CheckResult& check,
               const CheckOptions& the_options, Progress* progress) {
  if (NothingToCompare(check.fixed)) return {{}, 0.0, false, false};
  const Model& original = given.Lifted();
  const LiftedSamples lifted_samples(original, given_samples, progress);
  const SampleSource& samples = lifted_samples.source();
  CheckOptions options = the_options;
  options.rules = &check.rules;
  const uint64_t worst = WorstSample(samples, check.fixed);
  Widening all = WidenOnce(original, plan, samples, worst, options, progress);
  if (!all.possible || samples.size() <= kFewSamples) return all;
  // What one sample needs, the next may not be served by. A check of all for each of them would take most of
  // the time, so each sample is run until it was right once, and the check that follows has the last word.
  Judge judge(original, samples, options, worst);
  std::vector<uint64_t> open = judge.order();
  while (!judge.AllRight(Apply(original, *plan), &open, progress)) {
    const Widening step = WidenOnce(original, plan, samples, open.front(), options, progress);
    if (!step.possible) break;
    all.nodes.insert(all.nodes.end(), step.nodes.begin(), step.nodes.end());
    all.predicted_rel_l2 = std::max(all.predicted_rel_l2, step.predicted_rel_l2);
    all.minimal = false;
  }
  return all;
}

}  // namespace halfsafe
