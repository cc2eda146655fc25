#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <initializer_list>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/test_support.h"
#include "halfsafe/error.h"
#include "halfsafe/sample.h"

namespace halfsafe {

inline std::span<const std::byte> Bytes(std::string_view text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}

/// An array of the given numbers.
template <typename T>
Array MakeArray(DType dtype, std::vector<int64_t> shape, const std::vector<T>& values) {
  Array array{dtype, std::move(shape), std::vector<std::byte>(values.size() * sizeof(T))};
  if (!values.empty()) std::memcpy(array.bytes.data(), values.data(), array.bytes.size());
  return array;
}

inline Array Floats(std::vector<int64_t> shape, const std::vector<float>& values) {
  return MakeArray<float>(DType::kFloat, std::move(shape), values);
}

/// float32 inputs of these names.
inline std::vector<InputSpec> InputsNamed(std::initializer_list<const char*> names) {
  std::vector<InputSpec> inputs;
  for (const char* name : names) inputs.push_back({name, DType::kFloat, {}});
  return inputs;
}

template <typename T>
std::vector<T> ValuesOf(const Array& array) {
  std::vector<T> values(array.bytes.size() / sizeof(T));
  if (!values.empty()) std::memcpy(values.data(), array.bytes.data(), array.bytes.size());
  return values;
}

inline void ExpectSame(const Array& found, const Array& expected) {
  EXPECT_EQ(found.dtype, expected.dtype);
  EXPECT_EQ(found.shape, expected.shape);
  EXPECT_EQ(found.bytes, expected.bytes);
}

/// The one sample "s", with an array of four for the input "x".
class OneSample : public SampleSource {
 public:
  uint64_t size() const override { return 1; }
  std::string Name(uint64_t) const override { return "s"; }
  Sample Read(uint64_t) const override {
    Sample sample;
    sample.name = "s";
    sample.inputs.push_back({"x", Floats({4}, {1, -2, 3, 0.5f})});
    return sample;
  }
};

/// Runs `run`, which may succeed or throw BadInput, nothing else.
template <typename Run>
void ExpectGoodOrBad(Run run) {
  try {
    run();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kBadInput) << error.what();
  }
}

}  // namespace halfsafe
