#include "observe/observer.h"

#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <vector>

namespace halfsafe {
namespace {

/// A device whose memory is the host's.
class FakeDevice : public DeviceStats {
 public:
  void BeginSample() override { seen_.clear(); }
  void Add(const Tap& tap, const std::optional<Rows>& rows) override {
    const BlockStats run = StatsOf(tap.dtype, tap.input, tap.count, nullptr);
    DeviceSeen& seen = seen_[tap.id];
    seen.values.Merge(run);
    seen.abs_sum = std::max(seen.abs_sum, run.abs_sum);
    if (!rows) return;
    const double smallest = SmallestRowMax(static_cast<const float*>(tap.input), *rows);
    seen.row_max_min = std::min(seen.row_max_min.value_or(smallest), smallest);
  }
  std::vector<DeviceSeen> Take(std::span<const int64_t> slots) override {
    std::vector<DeviceSeen> taken;
    for (const int64_t slot : slots) taken.push_back(seen_.at(slot));
    return taken;
  }

 private:
  std::map<int64_t, DeviceSeen> seen_;
};

/// Sends the same tensors past an observer on the host and one with a device.
class ObserverTest : public testing::Test {
 protected:
  ObserverTest() {
    for (Observer* observer : {&host_, &device_}) {
      observer->AddSlot();
      observer->AddSlot(RowAxis{-1, false});
    }
    device_.UseDevice(std::make_unique<FakeDevice>());
  }
  void Begin(const std::string& name) {
    for (Observer* observer : {&host_, &device_}) observer->BeginSample(name);
  }
  void Send(int64_t slot, std::vector<float> values, bool on_device = true) {
    const auto columns = static_cast<int64_t>(values.size() / 2);
    Tap tap;
    tap.id = slot;
    tap.input = tap.output = values.data();
    tap.count = values.size();
    tap.shape = {2, columns};
    host_.Process(tap);
    tap.on_device = on_device;
    device_.Process(tap);
  }
  void End() {
    for (Observer* observer : {&host_, &device_}) {
      observer->Gather();
      observer->EndSample();
    }
  }
  void ExpectSame() const {
    for (const int64_t slot : {0, 1}) {
      const TensorStats host = host_.Result(slot), device = device_.Result(slot);
      EXPECT_EQ(host.count, device.count);
      EXPECT_EQ(host.nan_count, device.nan_count);
      EXPECT_EQ(host.inf_count, device.inf_count);
      EXPECT_EQ(host.overflow_count, device.overflow_count);
      EXPECT_EQ(host.min, device.min);
      EXPECT_EQ(host.max, device.max);
      EXPECT_EQ(host.abs_max_sample, device.abs_max_sample);
      EXPECT_EQ(host.abs_sum, device.abs_sum);
      EXPECT_EQ(host.exponents, device.exponents);
      EXPECT_EQ(host.row_max_min, device.row_max_min);
      const std::optional<SampleSums> one = host_.InSample(slot), other = device_.InSample(slot);
      ASSERT_EQ(one.has_value(), other.has_value());
      if (!one) continue;
      EXPECT_EQ(one->abs_max, other->abs_max);
      EXPECT_EQ(one->abs_sum, other->abs_sum);
      EXPECT_EQ(one->elements, other->elements);
    }
  }

  Observer host_, device_;
};

TEST_F(ObserverTest, WhatADeviceSawCountsLikeWhatTheHostSaw) {
  Begin("a");
  Send(0, {1.0f, -70000.0f, INFINITY, NAN});
  Send(1, {1.0f, 2.0f, 3.0f, 4.0f});
  End();
  ExpectSame();
  Begin("b");
  Send(1, {-5.0f, -6.0f, 3.0f, 4.0f});
  End();
  ExpectSame();
}

TEST_F(ObserverTest, RunsOfOneSampleMayBeOnEither) {
  Begin("loop");
  Send(0, {1.0f, 2.0f});
  Send(0, {3.0f, 4.0f}, false);
  Send(0, {});
  Send(0, {0.5f, 0.25f, 1.0f, 1.0f});
  End();
  ExpectSame();
}

TEST_F(ObserverTest, OfASampleThatFailsNothingCounts) {
  Begin("bad");
  Send(0, {1e6f, 2.0f});
  Begin("good");
  Send(0, {1.0f, 2.0f});
  End();
  ExpectSame();
  EXPECT_EQ(device_.Result(0).max, 2.0);
}

}  // namespace
}  // namespace halfsafe
