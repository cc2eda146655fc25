#pragma once

#include <map>
#include <memory>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "halfsafe/check.h"
#include "model/graph_index.h"
#include "model/precision_ports.h"
#include "verify/candidate.h"
#include "verify/minimize.h"

namespace halfsafe {

/// Which roundings are on.
using Roundings = std::vector<bool>;

/// Past the tolerance by more than the draws of the check and of a probe, which are others, differ: the check
/// will find it past too.
constexpr double kSurelyPast = 1.5;

/// What is looked for, as a share of the tolerance: two sessions of one model differ a little.
constexpr double kAim = 0.9;

/// A distance from FP32, as the check measures it (docs/rules.md, "Right, and by what").
struct Measured {
  double distance = 0.0;  ///< The root mean square over the draws.
  double spread = 0.0;    ///< The standard error of its square.
  /// Whether `other` lies further off by more than both leave open.
  bool SurelyBelow(const Measured& other) const;
};

/// The sample on which a model failed, or was furthest off, or nearest to it where it is right; the first
/// where that isn't known.
uint64_t WorstSample(const SampleSource& samples, const ModelErrors& errors);

/// Runs a planned model on its worst sample with any choice of its roundings switched on: one session serves
/// every assignment.
class Probe {
 public:
  /// `hardest` is the sample to begin with.
  Probe(const Model& original, const Plan& plan, const SampleSource& samples, uint64_t hardest,
        const CheckOptions& options);

  /// The roundings: results and weights that the plan stores in 16 bits.
  size_t size() const { return rounder_.tensors.size(); }
  const std::string& name(size_t rounding) const { return rounder_.tensors[rounding].name; }

  /// `order[begin..end)` alone.
  Roundings Only(const std::vector<size_t>& order, size_t begin, size_t end) const;
  /// All but those that go away when these plan entries are FP32.
  Roundings Without(const std::set<size_t>& entries) const;
  /// The 16-bit type of an entry in the plan.
  Precision half(size_t entry) const { return plan_.nodes[entry].precision; }
  /// Whether the plan with these entries in FP32 rounds just that. Where some readers of a tensor are FP32
  /// and others aren't, and its writer doesn't round it, only the others read it rounded; here all do.
  bool Exact(const std::set<size_t>& entries) const;

  /// How far the outputs are from the tolerance with every rounding on: 1 is on its edge, infinite means not
  /// finite.
  double worst() const { return worst_; }
  /// The index of the sample that it runs, and its name.
  uint64_t hardest() const { return hardest_; }
  const std::string& sample() const { return sample_name_; }
  /// The same with these on, under as many draws as it takes to tell on which side of the tolerance it is.
  /// Each run is made once and remembered.
  double Distance(const Roundings& on);
  /// Whether these are within `aim`, by so much more than the draws differ that other draws will agree.
  bool Fits(const Roundings& on, double aim);
  /// The same under all draws.
  Measured Measure(const Roundings& on);
  /// Where the machine can run two choices at the same time and `likely[0]`, which is asked for next, is not
  /// known: runs it and the next one that isn't.
  void Expect(const std::vector<Roundings>& likely);

  /// The plan's 16-bit entries that would have to be FP32 for this rounding to go away.
  const std::set<size_t>& EntriesOf(size_t rounding) const { return ends_[rounding].all; }
  /// What FP32 costs an entry: its share of the nodes and, four times as dear, of the multiply-adds.
  double Cost(size_t entry) const;

 private:
  /// What each of the runs at the same time needs of its own.
  struct Lane {
    Rounder rounder;
    std::unique_ptr<SessionCache> sessions;
  };
  void UseSample(const SampleSource& samples, uint64_t index);
  void MeasureWork();
  /// The entries behind a rounding.
  struct Ends {
    std::optional<size_t> writer;
    std::set<size_t> readers, all;
  };
  std::optional<size_t> EntryOf(int node) const;
  Ends FindEnds(size_t rounding) const;
  Ends EndsOf(int tensor) const;
  std::set<size_t> ReadersOf(int form) const;
  void OpenLanes();
  void Draw(const Roundings& on, std::vector<double>* draws);
  double Run(Lane* lane, const Roundings& on, size_t draw) const;

  const CheckOptions& options_;
  const Plan& plan_;
  const GraphIndex& index_;
  PrecisionPorts ports_;
  std::unordered_map<std::string, size_t> entry_;  ///< Plan entries in 16 bits, by node name.
  Model typed_;
  std::optional<Model> reference_part_, typed_part_;  ///< Set where the model's tail doesn't run.
  std::vector<int> originals_;  ///< Per node of typed_: the original's, or -1 where it was inserted.
  std::vector<InputSpec> inputs_;
  bool two_;  ///< Choices at the same time.
  Reference reference_;
  Rounder rounder_;              ///< Names the roundings; lanes run copies.
  std::optional<Model> scaled_;  ///< The original in FP32 with the plan's exponents, where it has some.
  SessionModel session_model_;
  std::vector<Lane> lanes_;  ///< Two where two runs at the same time are worth it.
  Sample sample_;
  RunOutputs expected_;
  std::vector<Ends> ends_;    ///< Per rounding.
  std::vector<double> work_;  ///< Per plan entry: multiply-adds of the sample.
  double total_work_ = 0.0;
  double worst_ = 0.0;
  uint64_t hardest_ = 0;
  std::string sample_name_;
  std::unordered_map<Roundings, std::vector<double>> known_;  ///< Distances on the sample, by draw.
};

/// What entries that are in FP32 for their error do there.
struct OwnParts {
  /// Evidence by entry: how far the outputs of the probe's sample are from the tolerance with that entry
  /// alone in 16 bits, and without; of entries that are within the spread each, together.
  std::map<size_t, std::string> evidence;
  std::vector<size_t> within_spread;  ///< Those that lower the distance by no more than the draws differ.
};

/// Finds these for the entries `wide`. All draws for each, so of very many only the first `most` are told
/// apart.
OwnParts FindOwnParts(Probe* probe, const std::set<size_t>& wide, size_t most);

/// Tries sets of plan entries in FP32 by running the probe with them.
class ProbeTrial : public Trial {
 public:
  explicit ProbeTrial(Probe* probe) : probe_(probe) {}
  void Expect(const std::vector<std::vector<size_t>>& next) override;
  double Distance(const std::vector<size_t>& entries) { return probe_->Distance(With(entries)); }
  bool Fits(const std::vector<size_t>& entries, double aim) { return probe_->Fits(With(entries), aim); }
  /// Whether the check will fail with these, as far as the probe can tell.
  bool SurelyFails(const std::vector<size_t>& entries) {
    return Distance(entries) > kSurelyPast && probe_->Exact({entries.begin(), entries.end()});
  }

 protected:
  Roundings With(const std::vector<size_t>& entries) const {
    return probe_->Without({entries.begin(), entries.end()});
  }

 private:
  Probe* probe_;
};

}  // namespace halfsafe
