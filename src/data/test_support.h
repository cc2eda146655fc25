#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <initializer_list>
#include <span>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

#include "halfsafe/error.h"
#include "halfsafe/sample.h"

namespace halfsafe {

/// A folder that is gone after the test.
class TempFolder {
 public:
  TempFolder() {
    std::string name = (std::filesystem::temp_directory_path() / "halfsafe.XXXXXX").string();
    if (mkdtemp(name.data()) == nullptr) throw std::runtime_error("no temporary folder");
    path_ = name;
  }
  ~TempFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TempFolder(const TempFolder&) = delete;
  TempFolder& operator=(const TempFolder&) = delete;

  std::filesystem::path operator/(std::string_view name) const { return path_ / name; }
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

inline void WriteText(const std::filesystem::path& path, std::string_view text) {
  std::filesystem::create_directories(path.parent_path());
  std::ofstream(path, std::ios::binary).write(text.data(), static_cast<std::streamsize>(text.size()));
}

inline std::string ReadText(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

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
std::vector<T> Values(const Array& array) {
  std::vector<T> values(array.bytes.size() / sizeof(T));
  if (!values.empty()) std::memcpy(values.data(), array.bytes.data(), array.bytes.size());
  return values;
}

inline void ExpectSame(const Array& found, const Array& expected) {
  EXPECT_EQ(found.dtype, expected.dtype);
  EXPECT_EQ(found.shape, expected.shape);
  EXPECT_EQ(found.bytes, expected.bytes);
}

/// Expects `run` to throw BadInput, and every one of `parts` in its message.
template <typename Run>
void ExpectBad(Run run, std::initializer_list<std::string_view> parts) {
  try {
    run();
    ADD_FAILURE() << "not refused";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kBadInput) << error.what();
    for (const std::string_view part : parts)
      EXPECT_THAT(error.what(), testing::HasSubstr(std::string(part)));
  }
}

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
