#include "plan/expansion.h"

#include <algorithm>
#include <utility>

#include "plan/flow_network.h"

namespace halfsafe {
namespace {

using Precisions = std::vector<Precision>;

constexpr PerPrecision<Precision> kPrecisions = {Precision::kFp16, Precision::kBf16, Precision::kFp32};

size_t Index(Precision precision) { return static_cast<size_t>(precision); }

bool IsAllowed(const PrecisionNode& node, Precision precision) {
  return precision == Precision::kFp32 || node.allowed[Index(precision)];
}

Precision PrecisionOf(int end, const Precisions& precisions) {
  switch (end) {
    case kFixedFp32:
      return Precision::kFp32;
    case kFixedFp16:
      return Precision::kFp16;
    case kFixedBf16:
      return Precision::kBf16;
    default:
      return precisions[static_cast<size_t>(end)];
  }
}

/// An expansion move: every node either stays what it is or takes one precision, the same for all. There are
/// exponentially many such moves; a minimum cut finds the best one.
///
/// The cut is exact, for the Casts too. Their cost is a sum over tensors and precisions p: cast_cost if the
/// writer is not p and any reader is. Within a move each such term depends on who stays in one sense only:
/// - p is taken: readers that take are p, a writer that stays is not. Paid if the writer stays and any reader
///   takes.
/// - p is not taken: readers that are p now and stay are p, any other reader is not. Paid if any of those
/// stays
///   and the writer is not p: it takes, or it was not p in the first place.
/// "This one on one side and any of those on the other" is submodular, and one helper vertex expresses it.
class ExpansionMove {
 public:
  ExpansionMove(const PrecisionProblem& problem, const Precisions& current, Precision taken)
      : current_(current), taken_(taken) {
    for (size_t node = 0; node < current.size(); ++node) AddNode(problem.nodes[node], current[node]);
    for (const CutTensor& tensor : problem.tensors) AddTensor(tensor);
  }

  /// Of the cheapest moves the one in which most nodes take, which is a superset of all others.
  Precisions Best() const {
    const std::vector<bool> stays = network_.SourceSide(kStays, kTakes);
    Precisions best = current_;
    for (size_t node = 0; node < best.size(); ++node)
      if (!stays[vertices_[node]]) best[node] = taken_;
    return best;
  }

 private:
  /// The network's source and sink. Who has no choice is one of these rather than a vertex tied to it.
  static constexpr size_t kStays = 0, kTakes = 1;

  void AddNode(const PrecisionNode& node, Precision current) {
    if (current == taken_ || !IsAllowed(node, taken_)) {
      vertices_.push_back(current == taken_ ? kTakes : kStays);
      return;
    }
    const size_t vertex = network_.AddVertex();
    vertices_.push_back(vertex);
    const int64_t saved = node.cost[Index(current)] - node.cost[Index(taken_)];
    if (saved > 0) {
      network_.Connect(vertex, kTakes, saved);  // Lost by who stays.
    } else {
      network_.Connect(kStays, vertex, -saved);  // Paid by who takes.
    }
  }

  void AddTensor(const CutTensor& tensor) {
    for (const Precision precision : kPrecisions) {
      const bool is_taken = precision == taken_;
      // The side on which a reader is `precision`. The writer pays on the other.
      const size_t same = is_taken ? kTakes : kStays, other = is_taken ? kStays : kTakes;
      const auto may_be = [&](int end) { return is_taken || PrecisionOf(end, current_) == precision; };
      const size_t writer = may_be(tensor.writer) ? VertexOf(tensor.writer) : other;
      if (writer == same) continue;
      readers_.clear();
      for (const int reader : tensor.readers)
        if (may_be(reader) && VertexOf(reader) != other) readers_.push_back(VertexOf(reader));
      PayOnce(writer, same, tensor.cast_cost);
    }
  }

  /// Lets `cost` be paid once if any of readers_ is on side `same` and the writer is on the other. The edges
  /// behind the helper need to be no dearer than the one before it: one alone costs as much as moving the
  /// helper over.
  void PayOnce(size_t writer, size_t same, int64_t cost) {
    const auto connect = [&](size_t before, size_t behind) {
      if (same == kStays) std::swap(before, behind);
      network_.Connect(before, behind, cost);
    };
    if (readers_.size() == 1) connect(writer, readers_[0]);  // One reader needs no helper.
    if (readers_.size() <= 1) return;
    const size_t helper = network_.AddVertex();  // On side `same` as soon as one reader is.
    connect(writer, helper);
    for (const size_t reader : readers_) connect(helper, reader);
  }

  size_t VertexOf(int end) const {
    if (end >= 0) return vertices_[static_cast<size_t>(end)];
    return PrecisionOf(end, current_) == taken_ ? kTakes : kStays;
  }

  const Precisions& current_;
  Precision taken_;
  FlowNetwork network_{2};
  std::vector<size_t> vertices_;  ///< Per node.
  std::vector<size_t> readers_;   ///< Of the term that is being added.
};

Precisions Expand(const PrecisionProblem& problem, const Precisions& current, Precision taken) {
  return ExpansionMove(problem, current, taken).Best();
}

/// Every node in `precision`, or FP32 where that is not allowed.
Precisions Uniform(const PrecisionProblem& problem, Precision precision) {
  Precisions uniform;
  for (const PrecisionNode& node : problem.nodes)
    uniform.push_back(IsAllowed(node, precision) ? precision : Precision::kFp32);
  return uniform;
}

struct Candidate {
  Precisions precisions;
  int64_t cost = 0;
};

/// Makes expansion moves until none of the three is cheaper.
Candidate Descend(const PrecisionProblem& problem, Precisions start) {
  Candidate best{std::move(start), 0};
  best.cost = PrecisionCost(problem, best.precisions);
  size_t in_vain = 0;
  for (size_t turn = 0; in_vain < kPrecisions.size(); ++turn) {
    Precisions moved = Expand(problem, best.precisions, kPrecisions[turn % kPrecisions.size()]);
    const int64_t cost = PrecisionCost(problem, moved);
    in_vain = cost < best.cost ? 0 : in_vain + 1;
    if (cost < best.cost) best = {std::move(moved), cost};
  }
  return best;
}

/// Two precisions, of which the first is where all nodes begin.
struct Start {
  Precision from, to;
};

/// One expansion from a uniform assignment is the exact minimum cut between two precisions. Where the descent
/// ends depends on where it begins, so it begins at all of them; FP16 with BF16 twice, because where only one
/// of the two is allowed, the two ways leave nodes in different ones. The first is CheapestAssignment's and
/// wins a tie.
constexpr Start kStarts[] = {
    {Precision::kFp32, Precision::kFp16},
    {Precision::kFp32, Precision::kBf16},
    {Precision::kBf16, Precision::kFp16},
    {Precision::kFp16, Precision::kBf16},
};

}  // namespace

Precisions CheapestPrecisions(const PrecisionProblem& problem) {
  Candidate best;
  for (const Start& start : kStarts) {
    Candidate found = Descend(problem, Expand(problem, Uniform(problem, start.from), start.to));
    if (&start == &kStarts[0] || found.cost < best.cost) best = std::move(found);
  }
  return best.precisions;
}

int64_t PrecisionCost(const PrecisionProblem& problem, const Precisions& precisions) {
  int64_t total = 0;
  for (size_t node = 0; node < precisions.size(); ++node)
    total += problem.nodes[node].cost[Index(precisions[node])];
  for (const CutTensor& tensor : problem.tensors) {
    PerPrecision<bool> casts = {};
    for (const int reader : tensor.readers) casts[Index(PrecisionOf(reader, precisions))] = true;
    casts[Index(PrecisionOf(tensor.writer, precisions))] = false;
    total += tensor.cast_cost * std::count(casts.begin(), casts.end(), true);
  }
  return total;
}

}  // namespace halfsafe
