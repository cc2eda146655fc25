#include "plan/cut.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>

namespace halfsafe {
namespace {

CutProblem RandomProblem(std::mt19937* random, size_t nodes) {
  const auto below = [&](int bound) { return static_cast<int>((*random)() % static_cast<unsigned>(bound)); };
  CutProblem problem;
  for (size_t i = 0; i < nodes; ++i) {
    problem.fp32_cost.push_back(below(20));
    problem.must_fp32.push_back(below(5) == 0);
  }
  const int tensors = 1 + below(2 * static_cast<int>(nodes));
  for (int i = 0; i < tensors; ++i) {
    const auto end = [&] {
      return below(8) == 0 ? (below(2) == 0 ? kFixedFp32 : kFixedFp16) : below(static_cast<int>(nodes));
    };
    CutTensor tensor;
    tensor.writer = end();
    for (int readers = 1 + below(4); readers > 0; --readers) tensor.readers.push_back(end());
    tensor.cast_cost = below(15);
    problem.tensors.push_back(tensor);
  }
  return problem;
}

/// The least cost over all assignments that keep the forced nodes FP32.
int64_t LeastCost(const CutProblem& problem) {
  const size_t nodes = problem.fp32_cost.size();
  int64_t least = INT64_MAX;
  for (uint32_t choice = 0; choice < (1u << nodes); ++choice) {
    std::vector<bool> fp32(nodes);
    bool allowed = true;
    for (size_t i = 0; i < nodes; ++i) {
      fp32[i] = (choice >> i & 1) != 0;
      allowed = allowed && (fp32[i] || !problem.must_fp32[i]);
    }
    if (allowed) least = std::min(least, AssignmentCost(problem, fp32));
  }
  return least;
}

TEST(CutTest, EqualsExhaustiveSearchOnRandomGraphs) {
  std::mt19937 random(1);
  for (int round = 0; round < 1000; ++round) {
    const CutProblem problem = RandomProblem(&random, 1 + random() % (round % 20 == 0 ? 14 : 9));
    const std::vector<bool> found = CheapestAssignment(problem);
    ASSERT_EQ(found.size(), problem.fp32_cost.size());
    for (size_t i = 0; i < found.size(); ++i)
      ASSERT_TRUE(found[i] || !problem.must_fp32[i]) << "round " << round;
    ASSERT_EQ(AssignmentCost(problem, found), LeastCost(problem)) << "round " << round;
  }
}

TEST(CutTest, ManyReadersOfOneTensorPayForOneCast) {
  // Node 0 must be FP32 and writes a tensor that nodes 1 to 5 read. FP32 for all five would cost 10, one Cast
  // costs 3.
  const CutProblem problem{
      {0, 2, 2, 2, 2, 2}, {true, false, false, false, false, false}, {{0, {1, 2, 3, 4, 5}, 3}}};
  EXPECT_EQ(CheapestAssignment(problem), (std::vector<bool>{true, false, false, false, false, false}));
}

TEST(CutTest, ACheapNodeBetweenFp32NodesStaysFp32) {
  const CutProblem problem{{0, 1, 0}, {true, false, true}, {{0, {1}, 5}, {1, {2}, 5}}};
  EXPECT_EQ(CheapestAssignment(problem), (std::vector<bool>{true, true, true}));
}

TEST(CutTest, NothingForcedMeansNothingInFp32) {
  const CutProblem problem{{1, 1}, {false, false}, {{kFixedFp32, {0}, 1}, {0, {1}, 1}, {1, {kFixedFp32}, 1}}};
  const std::vector<bool> found = CheapestAssignment(problem);
  EXPECT_EQ(AssignmentCost(problem, found), 2);
}

TEST(CutTest, AHundredThousandNodesInAChain) {
  CutProblem problem;
  constexpr int kNodes = 100000;
  for (int i = 0; i < kNodes; ++i) {
    problem.fp32_cost.push_back(3);
    problem.must_fp32.push_back(i % 100 == 0);
    problem.tensors.push_back({i == 0 ? kFixedFp32 : i - 1, {i}, 4});
  }
  const std::vector<bool> found = CheapestAssignment(problem);
  // Every hundredth node is alone in FP32, with a Cast on each side; the first has its input in FP32 already.
  EXPECT_EQ(std::count(found.begin(), found.end(), true), kNodes / 100);
}

TEST(CutTest, AHundredThousandNodesBetweenTwo) {
  constexpr int kNodes = 100000;
  CutProblem problem;
  std::vector<int> all;
  for (int i = 0; i < kNodes; ++i) {
    problem.fp32_cost.push_back(3);
    problem.must_fp32.push_back(i % 3 == 0);
    problem.tensors.push_back({i, {kNodes}, 4});
    all.push_back(i);
  }
  problem.fp32_cost.push_back(kNodes);  // One that reads them all, and one that they all read.
  problem.must_fp32.push_back(false);
  problem.tensors.push_back({kFixedFp16, all, 4});
  const std::vector<bool> found = CheapestAssignment(problem);
  // A third has its results in FP32 anyway: with their reader in FP32 the others cost 3 each to have there
  // too.
  EXPECT_EQ(AssignmentCost(problem, found), std::min(kNodes + 3 * kNodes + 4, (kNodes + 2) / 3 * 7 + 4));
}

}  // namespace
}  // namespace halfsafe
