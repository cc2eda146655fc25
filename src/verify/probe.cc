#include "verify/probe.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <future>

#include "halfsafe/error.h"
#include "halfsafe/rewrite.h"
#include "plan/work.h"
#include "runtime/written_out.h"
#include "verify/compare.h"
#include "verify/draws.h"

namespace halfsafe {
namespace {

/// Standard errors by which a distance has to be clear of the tolerance before all draws are made.
constexpr double kClearChoice = 2.0;
/// The same for what is chosen: the check, which draws others, is to agree.
constexpr double kSafe = 3.0;

/// Samples tried to find one that misses the tolerance.
constexpr uint64_t kSamplesTried = 32;

/// Models up to this size are held once more for a second run at the same time.
constexpr uint64_t kFitsTwice = uint64_t{256} << 20;

/// Of the draws of probes: others than the check's, which has the last word, so that nothing is fitted to
/// these; and always the same, so that the plan doesn't turn with the user's seed.
constexpr uint64_t kOtherSeed = uint64_t{0x5EED} << 32;

/// The original in FP32 with the plan's exponents, where it has some: what is rounded in the plan's model.
std::optional<Model> Scaled(const Model& original, const Plan& plan) {
  if (plan.tensors.empty()) return std::nullopt;
  Plan fp32 = plan;
  fp32.nodes.clear();
  fp32.io.clear();
  return Apply(original, fp32);
}

/// Per graph of `typed`, that of the original that it was; -1 for the body of a node that was inserted.
std::vector<int> OriginalGraphs(const GraphIndex& typed) {
  std::vector<int> originals;
  int next = 0;
  for (const GraphInfo& graph : typed.graphs()) {
    const bool inserted =
        graph.parent_node >= 0 && !FindingsOf(*typed.node(graph.parent_node).proto).inserted.empty();
    originals.push_back(inserted ? -1 : next++);
  }
  return originals;
}

/// Per node of `typed`, the node of the original that it was, by their order in each graph: one that writes
/// in another form than the original's output is to have has another name for it, and may go by that.
std::vector<int> Originals(const GraphIndex& original, const GraphIndex& typed) {
  std::vector<std::vector<int>> left;
  for (size_t graph = 0; graph < original.graphs().size(); ++graph)
    left.push_back(original.NodesOf(static_cast<int>(graph)));
  std::vector<size_t> next(left.size(), 0);
  std::vector<int> originals;
  const std::vector<int> graphs = OriginalGraphs(typed);
  for (const NodeInfo& node : typed.nodes()) {
    const auto graph = static_cast<size_t>(graphs[static_cast<size_t>(node.graph)]);
    const bool inserted = !FindingsOf(*node.proto).inserted.empty();
    originals.push_back(inserted ? -1 : left.at(graph).at(next[graph]++));
  }
  return originals;
}

}  // namespace

bool Measured::SurelyBelow(const Measured& other) const {
  if (!std::isfinite(other.distance)) return std::isfinite(distance);
  const double margin = std::hypot(spread, other.spread);
  return other.distance * other.distance - distance * distance > margin;
}

uint64_t WorstSample(const SampleSource& samples, const ModelErrors& errors) {
  if (!errors.failure.empty()) return FindSample(samples, errors.failure_sample);
  const OutputError* worst = nullptr;
  for (const OutputError& output : errors.outputs) {
    if (worst == nullptr || output.distance > worst->distance) worst = &output;
  }
  return worst == nullptr ? 0 : FindSample(samples, worst->distance_sample);
}

Probe::Probe(const Model& original, const Plan& plan, const SampleSource& samples, uint64_t hardest,
             const CheckOptions& options)
    : options_(options),
      plan_(plan),
      index_(original.index()),
      ports_(index_),
      typed_(Apply(original, plan)),
      reference_part_(
          RunnableForm(ReferenceOf(original, options), !options.custom_op_libraries.empty(), Types::kItsOwn)),
      typed_part_(RunnableForm(typed_, !options.custom_op_libraries.empty(), Types::kEmulated)),
      originals_(Originals(index_, typed_.index())),
      inputs_(typed_.Inputs()),
      two_(ServesTwoSessions(options.threads) && original.bytes() <= kFitsTwice),
      reference_(reference_part_ ? *reference_part_ : ReferenceOf(original, options), options, true, two_),
      scaled_(Scaled(original, plan)),
      session_model_(EmulateHalfSwitchable(scaled_ ? *scaled_ : original, typed_part_ ? *typed_part_ : typed_,
                                           &rounder_, FeedOf(options))) {
  reference_.RoundAs(ReferenceOf(original, options), typed_);
  for (size_t i = 0; i < plan.nodes.size(); ++i) {
    if (plan.nodes[i].precision != Precision::kFp32) entry_[plan.nodes[i].name] = i;
  }
  for (size_t rounding = 0; rounding < size(); ++rounding) ends_.push_back(FindEnds(rounding));
  OpenLanes();
  const Roundings all(size(), true);
  hardest_ = hardest;
  uint64_t tried = 0;
  UseSample(samples, hardest_);
  worst_ = Distance(all);
  // The tolerance may have been missed elsewhere than where the relative error was largest.
  for (uint64_t i = 0; worst_ <= 1.0 && i < std::min<uint64_t>(samples.size(), kSamplesTried); ++i, ++tried) {
    UseSample(samples, i);
    const double distance = Distance(all);
    if (distance <= worst_) continue;
    worst_ = distance;
    hardest_ = i;
  }
  if (tried > 0) {
    // Each lane starts with the sample that it stays with, so that both have sessions for its shapes.
    OpenLanes();
    UseSample(samples, hardest_);
    Distance(all);
  }
  MeasureWork();
}

void Probe::UseSample(const SampleSource& samples, uint64_t index) {
  const Sample sample = samples.Read(index);
  sample_name_ = sample.name;
  expected_ = reference_.Run(index, sample);
  sample_ = EmulatedInputs(sample, inputs_);
  known_.clear();
}

void Probe::OpenLanes() {
  lanes_ = std::vector<Lane>(two_ ? 2 : 1);
  for (Lane& lane : lanes_) {
    lane.rounder = rounder_;
    lane.rounder.seed = kOtherSeed;
    SessionOptions session = SessionOptionsOf(options_, two_);
    session.taps = &lane.rounder;
    lane.sessions = std::make_unique<SessionCache>(session_model_, session, true);
  }
}

Roundings Probe::Only(const std::vector<size_t>& order, size_t begin, size_t end) const {
  Roundings on(size(), false);
  for (size_t i = begin; i < end; ++i) on[order[i]] = true;
  return on;
}

Roundings Probe::Without(const std::set<size_t>& entries) const {
  Roundings on(size(), true);
  for (size_t i = 0; i < size(); ++i) {
    const std::set<size_t>& needed = EntriesOf(i);
    if (!needed.empty() && std::includes(entries.begin(), entries.end(), needed.begin(), needed.end()))
      on[i] = false;
  }
  return on;
}

bool Probe::Exact(const std::set<size_t>& entries) const {
  return std::none_of(ends_.begin(), ends_.end(), [&](const Ends& ends) {
    if (ends.writer && !entries.contains(*ends.writer)) return false;  // Rounded where it is written.
    const auto fp32 = std::count_if(ends.readers.begin(), ends.readers.end(),
                                    [&](size_t reader) { return entries.contains(reader); });
    return fp32 > 0 && static_cast<size_t>(fp32) < ends.readers.size();
  });
}

/// Adds one more draw, or two where they can run at the same time.
void Probe::Draw(const Roundings& on, std::vector<double>* draws) {
  const size_t next = draws->size();
  const bool both = lanes_.size() > 1 && next > 0 && next + 1 < kMostDraws;
  std::future<double> beside;
  if (both) beside = std::async(std::launch::async, [&] { return Run(&lanes_[1], on, next + 1); });
  draws->push_back(Run(&lanes_[0], on, next));
  if (both) draws->push_back(beside.get());
}

double Probe::Distance(const Roundings& on) {
  std::vector<double>& draws = known_[on];
  while (draws.empty() || NeedsAnother(draws, kClearChoice)) Draw(on, &draws);
  return RootMeanSquare(draws);
}

bool Probe::Fits(const Roundings& on, double aim) {
  std::vector<double>& draws = known_[on];
  while (draws.empty() || (draws.size() < kMostDraws && !SurelyBeyond(draws, aim, kSafe))) Draw(on, &draws);
  return SurelyWithin(draws, aim, kSafe);
}

Measured Probe::Measure(const Roundings& on) {
  std::vector<double>& draws = known_[on];
  while (draws.size() < kMostDraws && (draws.empty() || std::isfinite(draws.back()))) Draw(on, &draws);
  const double distance = RootMeanSquare(draws);
  double variance = 0.0;
  for (const double draw : draws) variance += std::pow(draw * draw - distance * distance, 2);
  const auto count = static_cast<double>(draws.size());
  return {distance, std::sqrt(variance / (count - 1.0) / count)};
}

void Probe::Expect(const std::vector<Roundings>& likely) {
  if (lanes_.size() < 2 || known_.contains(likely[0])) return;
  const auto other = std::find_if(likely.begin() + 1, likely.end(), [&](const Roundings& on) {
    return on != likely[0] && !known_.contains(on);
  });
  if (other == likely.end()) return;
  auto beside = std::async(std::launch::async, [&] { return Run(&lanes_[1], *other, 0); });
  const double distance = Run(&lanes_[0], likely[0], 0);
  known_[likely[0]] = {distance};
  known_[*other] = {beside.get()};
}

void ProbeTrial::Expect(const std::vector<std::vector<size_t>>& next) {
  std::vector<Roundings> likely;
  for (const auto& entries : next) likely.push_back(With(entries));
  probe_->Expect(likely);
}

double Probe::Run(Lane* lane, const Roundings& on, size_t draw) const {
  ThrowIfInterrupted();
  lane->rounder.enabled = on;
  lane->rounder.BeginSample(sample_.name, draw);
  Session& session = lane->sessions->For(sample_);
  const Judging judging{reference_.names(), reference_.rules(), options_};
  double distance = 0.0;
  try {
    const auto outputs = session.Run(sample_);
    for (const Difference& difference :
         CompareAll(judging, expected_, Views(outputs, judging.names), sample_.name))
      distance = std::max(distance, difference.distance);
  } catch (const Error& error) {
    if (error.code() != ExitCode::kBadInput) throw;
    return INFINITY;  // These roundings break a node outright.
  }
  return distance;
}

std::optional<size_t> Probe::EntryOf(int node) const {
  const auto found = node < 0 ? entry_.end() : entry_.find(index_.node(node).name);
  if (found == entry_.end()) return std::nullopt;
  return found->second;
}

Probe::Ends Probe::FindEnds(size_t rounding) const {
  const GraphIndex& typed = typed_.index();
  const int rounded = typed.FindTensor(rounder_.tensors[rounding].name);
  const TensorInfo& info = typed.tensor(rounded);
  const int writer = info.producer < 0 ? -1 : originals_[static_cast<size_t>(info.producer)];
  Ends ends;
  if (const int same = index_.FindTensor(info.name); info.producer < 0 && same >= 0) {
    ends = EndsOf(same);
  } else if (writer >= 0) {
    ends = EndsOf(index_.node(writer).outputs[static_cast<size_t>(info.producer_slot)]);
  } else {
    ends.readers = ReadersOf(rounded);
  }
  ends.all = ends.readers;
  if (ends.writer) ends.all.insert(*ends.writer);
  return ends;
}

/// Of a tensor of the original, in the form in which it is stored.
Probe::Ends Probe::EndsOf(int tensor) const {
  const TensorPorts& ports = ports_.of(tensor);
  Ends ends;
  ends.writer = EntryOf(ports.writer);
  for (const int reader : ports.readers) {
    if (const auto entry = EntryOf(reader)) ends.readers.insert(*entry);
  }
  return ends;
}

/// Of a form of some tensor that rewriting made, directly or in yet another form.
std::set<size_t> Probe::ReadersOf(int form) const {
  const GraphIndex& typed = typed_.index();
  std::set<size_t> readers;
  std::vector<int> forms = {form};
  while (!forms.empty()) {
    const TensorInfo& next = typed.tensor(forms.back());
    forms.pop_back();
    for (const TensorUse& use : next.uses) {
      const NodeInfo& reader = typed.node(use.node);
      const int original = originals_[static_cast<size_t>(use.node)];
      if (original < 0) forms.insert(forms.end(), reader.outputs.begin(), reader.outputs.end());
      if (const auto entry = EntryOf(original)) readers.insert(*entry);
    }
  }
  return readers;
}

void Probe::MeasureWork() {
  // The roundings counted the elements of each result, which is all that multiply-adds need beside the
  // weights' shapes.
  RangeTable sizes;
  sizes.samples = 1;
  for (const RoundedTensor& tensor : lanes_[0].rounder.tensors) {
    TensorStats stats;
    stats.name = tensor.name;
    stats.count = tensor.elements;
    sizes.tensors.push_back(std::move(stats));
  }
  work_.assign(plan_.nodes.size(), 0.0);
  for (const NodeInfo& node : index_.nodes()) {
    const auto found = entry_.find(node.name);
    if (found == entry_.end()) continue;
    work_[found->second] = MultiplyAdds(index_, sizes, node);
    total_work_ += work_[found->second];
  }
}

OwnParts FindOwnParts(Probe* probe, const std::set<size_t>& wide, size_t most) {
  const auto text = [](double distance) {
    return std::isfinite(distance) ? fmt::format("{:.2g} of the tolerance", distance) : "not finite";
  };
  const auto with = [&](const std::set<size_t>& narrow) {
    std::set<size_t> others;
    std::ranges::set_difference(wide, narrow, std::inserter(others, others.end()));
    return probe->Measure(probe->Without(others));
  };
  const Measured without = with({});
  const auto evidence = [&](const Measured& measured, const std::set<size_t>& narrow) {
    const char* half = probe->half(*narrow.begin()) == Precision::kBf16 ? "BF16" : "FP16";
    const std::string others = narrow.size() == 1 ? "" : fmt::format(" and {} others", narrow.size() - 1);
    return fmt::format("{} with it{} in {}, {} without, in sample {}", text(measured.distance), others, half,
                       text(without.distance), probe->sample());
  };
  OwnParts parts;
  std::set<size_t> together;
  for (const size_t entry : wide) {
    if (parts.evidence.size() + parts.within_spread.size() >= most) {
      together.insert(entry);
      continue;
    }
    const Measured own = with({entry});
    if (without.SurelyBelow(own)) {
      parts.evidence[entry] = evidence(own, {entry});
    } else {
      parts.within_spread.push_back(entry);
    }
  }
  together.insert(parts.within_spread.begin(), parts.within_spread.end());
  if (together.empty()) return parts;
  const std::string shared = evidence(with(together), together);
  for (const size_t entry : together) parts.evidence[entry] = shared;
  return parts;
}

double Probe::Cost(size_t entry) const {
  constexpr double kWorkOverCount = 4.0;
  const double share = total_work_ > 0.0 ? work_[entry] / total_work_ : 0.0;
  return 1.0 / static_cast<double>(plan_.nodes.size()) + kWorkOverCount * share;
}

}  // namespace halfsafe
