#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <numbers>
#include <random>

#include "data/array.h"
#include "halfsafe/error.h"
#include "halfsafe/progress.h"
#include "halfsafe/sample.h"

namespace halfsafe {
namespace {

constexpr uint64_t kSeed = 0x68616c6673616665;  // "halfsafe"
/// 2^64 divided by the golden ratio spreads neighbouring indices over all seeds.
constexpr uint64_t kGolden = 0x9e3779b97f4a7c15;

/// Draws from N(0, 1). The standard library's distribution differs between implementations, this one does
/// not.
class Normal {
 public:
  explicit Normal(std::mt19937_64& bits) : bits_(bits) {}

  double Next() {
    // 53 random bits make a number in (0, 1], which has a logarithm.
    const double u = static_cast<double>((bits_() >> 11) + 1) * 0x1p-53;
    const double v = static_cast<double>(bits_() >> 11) * 0x1p-53;
    return std::sqrt(-2 * std::log(u)) * std::cos(2 * std::numbers::pi * v);
  }

 private:
  std::mt19937_64& bits_;
};

/// Rounds to FP16, for values far from its limits: below its normal range they become 0.
uint16_t ToFloat16(float value) {
  const auto bits = std::bit_cast<uint32_t>(value);
  const auto sign = static_cast<uint16_t>(bits >> 16 & 0x8000);
  if (std::fabs(value) < 0x1p-14f) return sign;
  // Moves the exponent from bias 127 to 15, and drops 13 bits of the fraction; a carry moves into the
  // exponent.
  const uint32_t magnitude = (bits & 0x7fffffff) - (112u << 23);
  const uint32_t rounded = magnitude + 0xfff + (magnitude >> 13 & 1);
  return static_cast<uint16_t>(sign | rounded >> 13);
}

/// Rounds a finite value to BF16.
uint16_t ToBfloat16(float value) {
  const auto bits = std::bit_cast<uint32_t>(value);
  return static_cast<uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

template <typename T>
void Put(Array& array, size_t index, T value) {
  std::memcpy(&array.bytes[index * sizeof(T)], &value, sizeof(T));
}

Array RandomArray(const InputSpec& input, std::mt19937_64& bits) {
  Array array{input.dtype, input.shape, {}};
  for (int64_t& dimension : array.shape) {
    if (dimension < 0) dimension = 1;
  }
  if (input.any_rank) array.shape = {1};
  const std::string where = fmt::format("random samples: input '{}'", input.name);
  if (input.sequence) throw BadInput(fmt::format("{} is a sequence, expected a tensor", where));
  const size_t size = DTypeSize(input.dtype);
  if (size == 0) {
    throw BadInput(fmt::format("{} is of {}, expected {}", where, DTypeName(input.dtype), kSampleDTypes));
  }
  const size_t bytes = ArrayBytes(input.dtype, array.shape, where);
  array.bytes.resize(bytes);
  Normal normal(bits);
  for (size_t i = 0; i < bytes / size; ++i) {
    switch (input.dtype) {
      case DType::kFloat:
        Put(array, i, static_cast<float>(normal.Next()));
        break;
      case DType::kDouble:
        Put(array, i, normal.Next());
        break;
      case DType::kFloat16:
        Put(array, i, ToFloat16(static_cast<float>(normal.Next())));
        break;
      case DType::kBfloat16:
        Put(array, i, ToBfloat16(static_cast<float>(normal.Next())));
        break;
      // Little endian: the first byte alone makes an integer of any size 0 or 1.
      default:
        array.bytes[i * size] = static_cast<std::byte>(bits() >> 63);
    }
  }
  return array;
}

class Random : public SampleSource {
 public:
  Random(uint64_t count, std::vector<InputSpec> inputs) : count_(count), inputs_(std::move(inputs)) {}

  uint64_t size() const override { return count_; }
  std::string Name(uint64_t index) const override { return fmt::format("random[{}]", index); }

  Sample Read(uint64_t index) const override {
    // A seed of its own, so that a sample does not depend on which were read before.
    std::mt19937_64 bits(kSeed + index * kGolden);
    Sample sample{Name(index), {}};
    for (const InputSpec& input : inputs_) {
      ThrowIfInterrupted();
      sample.inputs.push_back({input.name, RandomArray(input, bits)});
    }
    return sample;
  }

 private:
  uint64_t count_;
  std::vector<InputSpec> inputs_;
};

}  // namespace

std::unique_ptr<SampleSource> RandomSamples(uint64_t count, const std::vector<InputSpec>& inputs) {
  return std::make_unique<Random>(count, inputs);
}

void GiveShape(const std::string& name, const std::vector<int64_t>& shape, std::vector<InputSpec>* inputs) {
  const auto input = std::ranges::find(*inputs, name, &InputSpec::name);
  if (input == inputs->end()) throw BadUsage(fmt::format("shapes: the model has no input {}", name));
  const auto fits = [](int64_t own, int64_t given) { return own == -1 || own == given; };
  if (!input->any_rank && !std::ranges::equal(input->shape, shape, fits)) {
    throw BadUsage(fmt::format("shapes: {} is given {}, the model expects {}", name, ShapeText(shape),
                               ShapeText(input->shape)));
  }
  input->shape = shape;
  input->any_rank = false;
}

}  // namespace halfsafe
