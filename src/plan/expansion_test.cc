#include "plan/expansion.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <string>
#include <tuple>

namespace halfsafe {
namespace {

constexpr Precision kAll[] = {Precision::kFp16, Precision::kBf16, Precision::kFp32};

/// Random problems. Their kinds differ in how much Casts weigh and in how often FP16 is forbidden.
class Problems {
 public:
  explicit Problems(unsigned seed) : random_(seed) {}

  PrecisionProblem Next(int nodes, int kind) {
    PrecisionProblem problem;
    for (int node = 0; node < nodes; ++node) problem.nodes.push_back(Node(kind));
    const int cast_costs = 15 * (1 + kind);
    // Each node writes a tensor for some of the nodes behind it; further tensors come from outside.
    for (int writer = 0; writer < nodes; ++writer)
      problem.tensors.push_back({writer, Readers(writer + 1, nodes, Below(5)), 1 + Below(cast_costs)});
    for (int inputs = 1 + Below(3); inputs > 0; --inputs)
      problem.tensors.push_back({-1 - Below(3), Readers(0, nodes, 1 + Below(4)), 1 + Below(cast_costs)});
    return problem;
  }

  int Below(int bound) { return static_cast<int>(random_() % static_cast<unsigned>(bound)); }

 private:
  PrecisionNode Node(int kind) {
    PrecisionNode node;
    // In the first kind any precision may be the cheapest.
    for (int i = 0; i < 3; ++i) node.cost[i] = Below(20) + (kind == 0 || i == 0 ? 0 : node.cost[i - 1]);
    node.allowed[0] = Below(kind == 2 ? 2 : 4) != 0;
    node.allowed[1] = Below(4) != 0;
    return node;
  }

  /// From `first` to `nodes`, not far apart, as in models; some are fixed.
  std::vector<int> Readers(int first, int nodes, int count) {
    std::vector<int> readers;
    for (; count > 0 && first < nodes; --count)
      readers.push_back(Below(8) == 0 ? -1 - Below(3) : first + Below(std::min(nodes - first, 20)));
    return readers;
  }

  std::mt19937 random_;
};

/// The least cost of all, by trying everything that can still be cheaper.
class Exhaustive {
 public:
  explicit Exhaustive(const PrecisionProblem& problem)
      : problem_(problem), precisions_(problem.nodes.size(), Precision::kFp32), due_(problem.nodes.size()) {
    for (const CutTensor& tensor : problem.tensors) {
      int last = std::max(tensor.writer, 0);
      for (const int reader : tensor.readers) last = std::max(last, reader);
      due_[static_cast<size_t>(last)].tensors.push_back(tensor);
    }
    Try(0, 0);
  }

  int64_t least() const { return least_; }

 private:
  void Try(size_t node, int64_t cost) {
    if (cost >= least_) return;
    if (node == precisions_.size()) {
      least_ = cost;
      return;
    }
    for (const Precision precision : kAll) {
      const size_t index = static_cast<size_t>(precision);
      if (!problem_.nodes[node].allowed[index]) continue;
      precisions_[node] = precision;
      Try(node + 1, cost + problem_.nodes[node].cost[index] + Casts(due_[node].tensors));
    }
  }

  /// Counted otherwise than in PrecisionCost.
  int64_t Casts(const std::vector<CutTensor>& tensors) const {
    int64_t total = 0;
    for (const CutTensor& tensor : tensors)
      for (const Precision precision : kAll)
        if (Of(tensor.writer) != precision &&
            std::any_of(tensor.readers.begin(), tensor.readers.end(),
                        [&](int reader) { return Of(reader) == precision; }))
          total += tensor.cast_cost;
    return total;
  }

  Precision Of(int end) const {
    constexpr Precision kFixed[] = {Precision::kFp32, Precision::kFp16, Precision::kBf16};
    return end < 0 ? kFixed[-1 - end] : precisions_[static_cast<size_t>(end)];
  }

  const PrecisionProblem& problem_;
  std::vector<Precision> precisions_;
  std::vector<PrecisionProblem> due_;  ///< Per node, the tensors of which it is the last end.
  int64_t least_ = INT64_MAX;
};

void ExpectAllowed(const PrecisionProblem& problem, const std::vector<Precision>& precisions) {
  ASSERT_EQ(precisions.size(), problem.nodes.size());
  for (size_t node = 0; node < precisions.size(); ++node)
    EXPECT_TRUE(problem.nodes[node].allowed[static_cast<size_t>(precisions[node])]) << "node " << node;
}

TEST(ExpansionTest, IsCloseToExhaustiveSearchOnRandomGraphs) {
  Problems problems(1);
  int optimal = 0;
  double worst = 1;
  for (int round = 0; round < 1000; ++round) {
    const PrecisionProblem problem = problems.Next(1 + problems.Below(12), round % 3);
    const std::vector<Precision> found = CheapestPrecisions(problem);
    ExpectAllowed(problem, found);
    const int64_t cost = PrecisionCost(problem, found), least = Exhaustive(problem).least();
    ASSERT_GE(cost, least) << "round " << round;
    ASSERT_LE(100 * cost, 105 * least) << "round " << round;
    optimal += cost == least ? 1 : 0;
    if (least > 0) worst = std::max(worst, static_cast<double>(cost) / static_cast<double>(least));
  }
  EXPECT_GE(optimal, 990) << "the worst is " << worst << " times the least cost";
  RecordProperty("worst", std::to_string(worst));
}

TEST(ExpansionTest, IsTheExactCutWithoutBf16) {
  Problems problems(2);
  for (int round = 0; round < 500; ++round) {
    PrecisionProblem problem = problems.Next(1 + problems.Below(40), round % 3);
    CutProblem cut;
    for (PrecisionNode& node : problem.nodes) {
      node.cost[2] = std::max(node.cost[2], node.cost[0]);
      node.allowed[1] = false;
      cut.fp32_cost.push_back(node.cost[2] - node.cost[0]);
      cut.must_fp32.push_back(!node.allowed[0]);
    }
    for (CutTensor& tensor : problem.tensors) {
      tensor.writer = std::max(tensor.writer, kFixedFp16);
      for (int& reader : tensor.readers) reader = std::max(reader, kFixedFp16);
    }
    cut.tensors = problem.tensors;
    std::vector<bool> fp32;
    for (const Precision precision : CheapestPrecisions(problem))
      fp32.push_back(precision == Precision::kFp32);
    ASSERT_EQ(fp32, CheapestAssignment(cut)) << "round " << round;
  }
}

TEST(ExpansionTest, IsExactWithoutFp16) {
  Problems problems(3);
  for (int round = 0; round < 200; ++round) {
    PrecisionProblem problem = problems.Next(1 + problems.Below(12), round % 3);
    for (PrecisionNode& node : problem.nodes) node.allowed[0] = false;
    const std::vector<Precision> found = CheapestPrecisions(problem);
    ExpectAllowed(problem, found);
    ASSERT_EQ(PrecisionCost(problem, found), Exhaustive(problem).least()) << "round " << round;
  }
}

TEST(ExpansionTest, ReadersOfOnePrecisionShareACast) {
  const PrecisionProblem problem{{{}, {}, {}, {}, {}}, {{0, {1, 2, 3, 4, kFixedBf16}, 7}}};
  const auto [fp16, bf16, fp32] = std::tuple{Precision::kFp16, Precision::kBf16, Precision::kFp32};
  EXPECT_EQ(PrecisionCost(problem, {bf16, bf16, bf16, bf16, bf16}), 0);
  EXPECT_EQ(PrecisionCost(problem, {bf16, fp16, fp16, bf16, fp16}), 7);
  EXPECT_EQ(PrecisionCost(problem, {bf16, fp16, fp32, fp32, fp16}), 14);
  EXPECT_EQ(PrecisionCost(problem, {fp32, fp16, fp32, fp16, fp16}), 14);
}

TEST(ExpansionTest, ThreePrecisionsSideBySide) {
  // A chain from FP32 to FP32. The first two nodes may be FP16, the next two overflow there, the last is FP32
  // whatever happens. Casts are cheap enough for each to get its own.
  const PrecisionNode free{{1, 20, 40}, {true, true, true}};
  const PrecisionNode overflows{{1, 20, 40}, {false, true, true}};
  const PrecisionNode pinned{{1, 20, 40}, {false, false, true}};
  PrecisionProblem problem{{free, free, overflows, overflows, pinned}, {{kFixedFp32, {0}, 5}}};
  for (int node = 0; node < 4; ++node) problem.tensors.push_back({node, {node + 1}, 5});
  EXPECT_EQ(CheapestPrecisions(problem), (std::vector{Precision::kFp16, Precision::kFp16, Precision::kBf16,
                                                      Precision::kBf16, Precision::kFp32}));
  // With dear Casts the island of BF16 and the pinned node would rather have fewer.
  for (CutTensor& tensor : problem.tensors) tensor.cast_cost = 90;
  EXPECT_EQ(CheapestPrecisions(problem), std::vector(5, Precision::kFp32));
}

TEST(ExpansionTest, CostsOfLargeModelsDoNotOverflow) {
  Problems problems(4);
  PrecisionProblem problem = problems.Next(1000, 1);
  const std::vector<Precision> small = CheapestPrecisions(problem);
  constexpr int64_t kScale = 1'000'000'000'000;
  for (PrecisionNode& node : problem.nodes)
    for (int64_t& cost : node.cost) cost *= kScale;
  for (CutTensor& tensor : problem.tensors) tensor.cast_cost *= kScale;
  EXPECT_EQ(CheapestPrecisions(problem), small);
}

TEST(ExpansionTest, NoNodeOfTenThousandCanDoBetterAlone) {
  Problems problems(5);
  const PrecisionProblem problem = problems.Next(10000, 2);
  std::vector<Precision> found = CheapestPrecisions(problem);
  ExpectAllowed(problem, found);
  const int64_t cost = PrecisionCost(problem, found);
  for (size_t node = 0; node < found.size(); node += 50) {  // Each takes a walk over all tensors.
    const Precision before = found[node];
    for (const Precision precision : kAll) {
      if (!problem.nodes[node].allowed[static_cast<size_t>(precision)]) continue;
      found[node] = precision;
      EXPECT_GE(PrecisionCost(problem, found), cost) << "node " << node;
    }
    found[node] = before;
  }
}

TEST(ExpansionTest, NothingToDecide) {
  EXPECT_TRUE(CheapestPrecisions({}).empty());
  EXPECT_EQ(PrecisionCost({{}, {{kFixedFp32, {kFixedFp16, kFixedBf16, kFixedFp16}, 3}}}, {}), 6);
}

}  // namespace
}  // namespace halfsafe
