#include "data/read_ahead.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <string>
#include <thread>

#include "halfsafe/error.h"

namespace halfsafe {
namespace {

/// Samples that take longer the earlier they are, and sample 3 can't be read.
class Slow : public SampleSource {
 public:
  explicit Slow(bool only_in_order) : only_in_order_(only_in_order) {}
  uint64_t size() const override { return 8; }
  std::string Name(uint64_t index) const override { return std::to_string(index); }
  bool OnlyInOrder() const override { return only_in_order_; }
  Sample Read(uint64_t index) const override {
    const int now = ++reading_;
    int most = most_;
    while (now > most && !most_.compare_exchange_weak(most, now)) {
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(10 * (8 - index)));
    --reading_;
    if (index == 3) throw BadInput("3 is broken");
    return {Name(index), {}};
  }
  int most() const { return most_; }

 private:
  bool only_in_order_;
  mutable std::atomic<int> reading_{0}, most_{0};
};

std::string ReadAll(const SampleSource& source, uint64_t begin, size_t depth) {
  ReadAhead reader(source, begin, depth);
  std::string names;
  for (uint64_t i = begin; i < source.size(); ++i) {
    try {
      names += reader.Next().name;
    } catch (const Error&) {
      names += "!";
    }
  }
  return names;
}

TEST(ReadAheadTest, SamplesComeInOrderWhateverTheyTake) {
  for (const size_t depth : {1, 3, 20}) {
    const Slow source(false);
    EXPECT_EQ(ReadAll(source, 0, depth), "012!4567");
    EXPECT_EQ(ReadAll(source, 5, depth), "567");
    EXPECT_LE(source.most(), static_cast<int>(depth));
    EXPECT_EQ(source.most() > 1, depth > 1);
  }
}

TEST(ReadAheadTest, OneAtATimeWhereOrderMatters) {
  const Slow source(true);
  EXPECT_EQ(ReadAll(source, 0, 4), "012!4567");
  EXPECT_EQ(source.most(), 1);
}

}  // namespace
}  // namespace halfsafe
