#include "observe/device_stats.h"

#include <cuda_runtime_api.h>
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

#include "halfsafe/error.h"
#include "halfsafe/half.h"
#include "observe/observer.h"

namespace halfsafe {
namespace {

/// An array in the GPU's memory.
template <typename T>
class OnDevice {
 public:
  explicit OnDevice(const std::vector<T>& values) : count_(values.size()) {
    cudaMalloc(&memory_, count_ * sizeof(T));
    cudaMemcpy(memory_, values.data(), count_ * sizeof(T), cudaMemcpyHostToDevice);
  }
  ~OnDevice() { cudaFree(memory_); }
  OnDevice(const OnDevice&) = delete;
  OnDevice& operator=(const OnDevice&) = delete;
  void* get() const { return memory_; }
  std::vector<T> values() const {
    std::vector<T> values(count_);
    cudaMemcpy(values.data(), memory_, count_ * sizeof(T), cudaMemcpyDeviceToHost);
    return values;
  }

 private:
  size_t count_;
  void* memory_ = nullptr;
};

class DeviceStatsTest : public testing::Test {
 protected:
  void SetUp() override {
    try {
      device_ = OpenDeviceStats(3);
    } catch (const Error& error) {
      GTEST_SKIP() << error.what();
    }
    device_->BeginSample();
  }

  template <typename T>
  void Add(int64_t slot, DType dtype, const std::vector<T>& values, std::optional<Rows> rows = std::nullopt) {
    const OnDevice<T> input(values), output(std::vector<T>(values.size()));
    Tap tap;
    tap.id = slot;
    tap.dtype = dtype;
    tap.input = input.get();
    tap.output = output.get();
    tap.count = values.size();
    tap.on_device = true;
    device_->Add(tap, rows);
    cudaDeviceSynchronize();
    const std::vector<T> copied = output.values();
    EXPECT_EQ(std::memcmp(copied.data(), values.data(), values.size() * sizeof(T)), 0);
  }

  DeviceSeen Seen(int64_t slot) { return device_->Take(std::vector{slot})[0]; }

  /// The device's statistics against the scalar twin's.
  template <typename T>
  void ExpectSame(DType dtype, const std::vector<T>& values) {
    device_->BeginSample();
    Add(1, dtype, values);
    const DeviceSeen seen = Seen(1);
    BlockStats plain = StatsOf(dtype, values.data(), values.size(), nullptr);
    EXPECT_EQ(seen.values.finite, plain.finite);
    EXPECT_EQ(seen.values.nan, plain.nan);
    EXPECT_EQ(seen.values.inf, plain.inf);
    EXPECT_EQ(seen.values.overflow, plain.overflow);
    EXPECT_EQ(seen.values.subnormal, plain.subnormal);
    if (plain.finite > 0) {
      EXPECT_EQ(seen.values.min, plain.min);
      EXPECT_EQ(seen.values.max, plain.max);
    }
    if (std::isfinite(plain.abs_sum)) {
      EXPECT_NEAR(seen.abs_sum, plain.abs_sum, 1e-4 * plain.abs_sum);
    } else {
      EXPECT_EQ(seen.abs_sum, plain.abs_sum);
    }
    EXPECT_EQ(seen.values.exponents, plain.exponents);
    EXPECT_EQ(seen.values.rare_exponents, plain.rare_exponents);
  }

  std::unique_ptr<DeviceStats> device_;
};

TEST_F(DeviceStatsTest, EqualTheTwinsOnAllSizes) {
  std::mt19937 random(7);
  std::normal_distribution<float> normal;
  for (const size_t size : {1, 3, 31, 32, 33, 255, 256, 257, 8191, 8192, 20000, 1 << 20, 9'000'001}) {
    std::vector<float> values(size);
    for (float& value : values)
      value = normal(random) * std::ldexp(1.0f, static_cast<int>(random() % 40) - 20);
    ExpectSame(DType::kFloat, values);
  }
}

TEST_F(DeviceStatsTest, EqualTheTwinsOnAnyBits) {
  std::mt19937_64 random(8);
  std::vector<float> floats(50000);
  for (float& value : floats) value = std::bit_cast<float>(static_cast<uint32_t>(random()));
  ExpectSame(DType::kFloat, floats);
  std::vector<double> doubles(50000);
  for (double& value : doubles) value = std::bit_cast<double>(random());
  ExpectSame(DType::kDouble, doubles);
  std::vector<uint16_t> halves(1 << 16);
  for (size_t i = 0; i < halves.size(); ++i) halves[i] = static_cast<uint16_t>(i);
  ExpectSame(DType::kFloat16, halves);
  ExpectSame(DType::kBfloat16, halves);
}

TEST_F(DeviceStatsTest, EqualTheTwinsAtTheEdges) {
  using Limits = std::numeric_limits<double>;
  ExpectSame<float>(DType::kFloat,
                    {0.0f, -0.0f, kHalfMax, std::nextafter(kHalfMax, INFINITY), kHalfOverflow,
                     kHalfRoundsToNormal, std::nextafter(kHalfRoundsToNormal, 0.0f), 0x1p-126f, 0x1p-149f,
                     -0x1p-127f, std::numeric_limits<float>::max(), INFINITY, -INFINITY, NAN});
  ExpectSame<double>(DType::kDouble, {0.0, 65504.0, 65504.1, 0x1p-126, 0x1p-127, 0x1p-149, 0x1p-150,
                                      Limits::denorm_min(), Limits::max(), -0x1p128, INFINITY, NAN});
  ExpectSame<float>(DType::kFloat, {NAN, INFINITY});
}

TEST_F(DeviceStatsTest, SumsAreTheSameInEveryRun) {
  std::mt19937 random(9);
  std::vector<float> values(3'000'000);
  for (float& value : values)
    value = std::ldexp(1.0f + static_cast<float>(random() % 1000), static_cast<int>(random() % 30));
  Add(0, DType::kFloat, values);
  const double first = Seen(0).abs_sum;
  for (int turn = 0; turn < 20; ++turn) {
    device_->BeginSample();
    Add(0, DType::kFloat, values);
    EXPECT_EQ(Seen(0).abs_sum, first);
  }
}

TEST_F(DeviceStatsTest, RunsOfOneSampleAddUp) {
  Add<float>(0, DType::kFloat, {1.0f, -2.0f});
  Add<float>(2, DType::kFloat, {5.0f});
  Add<float>(0, DType::kFloat, {10.0f, NAN, 70000.0f});
  const DeviceSeen seen = Seen(0);
  EXPECT_EQ(seen.values.finite, 4u);
  EXPECT_EQ(seen.values.nan, 1u);
  EXPECT_EQ(seen.values.overflow, 1u);
  EXPECT_EQ(seen.values.min, -2.0);
  EXPECT_EQ(seen.values.max, 70000.0);
  EXPECT_EQ(seen.abs_sum, 70010.0);
  EXPECT_EQ(Seen(2).values.finite, 1u);
  device_->BeginSample();
  EXPECT_EQ(Seen(0).values.finite, 0u);
}

TEST_F(DeviceStatsTest, RowsGiveWhatTheTwinGives) {
  std::mt19937 random(10);
  std::normal_distribution<float> normal;
  const std::vector<Rows> shapes = {{1, 1, 1},   {7, 33, 1},   {300, 500, 1},
                                    {3, 40, 17}, {1, 2, 1000}, {70, 1, 90}};
  for (const Rows& rows : shapes) {
    std::vector<float> values(static_cast<size_t>(rows.outer * rows.length * rows.inner));
    for (const float shift : {-100.0f, 0.0f, 100.0f}) {
      for (float& value : values) value = normal(random) + shift;
      device_->BeginSample();
      Add(1, DType::kFloat, values, rows);
      EXPECT_EQ(Seen(1).row_max_min, SmallestRowMax(values.data(), rows));
    }
  }
  for (const float value : {-INFINITY, INFINITY, NAN, -3.4e38f, 0.0f}) {
    const std::vector<float> values = {value, value, value, value};
    device_->BeginSample();
    Add(1, DType::kFloat, values, Rows{2, 2, 1});
    EXPECT_EQ(Seen(1).row_max_min, SmallestRowMax(values.data(), {2, 2, 1}));
  }
  device_->BeginSample();
  Add<float>(1, DType::kFloat, {1.0f});
  EXPECT_FALSE(Seen(1).row_max_min.has_value());
}

}  // namespace
}  // namespace halfsafe
