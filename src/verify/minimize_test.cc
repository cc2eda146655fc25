#include "verify/minimize.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>

namespace halfsafe {
namespace {

using testing::ElementsAre;
using testing::SizeIs;

struct CountingTrial : Trial {
  explicit CountingTrial(std::function<bool(const std::vector<size_t>&)> test) : enough(std::move(test)) {}
  bool Enough(const std::vector<size_t>& elements) override { return ++asked, enough(elements); }
  void Expect(const std::vector<std::vector<size_t>>& next) override { expected = next; }
  bool MayGoOn() override { return asked < most; }

  std::function<bool(const std::vector<size_t>&)> enough;
  std::vector<std::vector<size_t>> expected;
  int asked = 0, most = 1000;
};

std::vector<size_t> Range(size_t count) {
  std::vector<size_t> elements(count);
  for (size_t i = 0; i < count; ++i) elements[i] = i;
  return elements;
}

bool Has(const std::vector<size_t>& elements, size_t element) {
  return std::find(elements.begin(), elements.end(), element) != elements.end();
}

TEST(Minimize, FindsTheElementsThatAreNeeded) {
  CountingTrial trial([](const auto& elements) { return Has(elements, 3) && Has(elements, 17); });
  const Minimum found = Minimize(Range(20), 5, &trial);
  EXPECT_THAT(found.left, ElementsAre(3, 17));
  EXPECT_TRUE(found.minimal);
}

TEST(Minimize, GoesRoundUntilNothingCanBeLeftOut) {
  // 1 can be left out only when 2 is gone.
  CountingTrial trial(
      [](const auto& elements) { return Has(elements, 0) && (Has(elements, 1) || !Has(elements, 2)); });
  const Minimum found = Minimize(Range(3), 1, &trial);
  EXPECT_THAT(found.left, ElementsAre(0));
  EXPECT_TRUE(found.minimal);
}

TEST(Minimize, StopsWhenTimeIsUp) {
  CountingTrial trial([](const auto&) { return false; });
  trial.most = 3;
  const Minimum found = Minimize(Range(10), 1, &trial);
  EXPECT_THAT(found.left, SizeIs(10));
  EXPECT_FALSE(found.minimal);
  EXPECT_EQ(trial.asked, 3);
}

TEST(Minimize, LeavesOutEverythingWhereNothingIsNeeded) {
  CountingTrial trial([](const auto&) { return true; });
  const Minimum found = Minimize(Range(7), 2, &trial);
  EXPECT_THAT(found.left, SizeIs(0));
  EXPECT_TRUE(found.minimal);
}

TEST(Minimize, SaysWhatItWillAskIfTheAnswerIsNo) {
  std::vector<std::vector<size_t>> asked, announced;
  CountingTrial* self = nullptr;
  CountingTrial trial([&](const auto& elements) {
    asked.push_back(elements);
    announced.push_back(self->expected[1]);
    return false;
  });
  self = &trial;
  Minimize(Range(6), 2, &trial);
  EXPECT_EQ(announced[0], asked[1]);
  EXPECT_EQ(announced[1], asked[2]);
}

}  // namespace
}  // namespace halfsafe
