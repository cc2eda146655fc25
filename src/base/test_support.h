#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <initializer_list>
#include <sstream>
#include <string>
#include <string_view>

#include "base/test_folder.h"
#include "halfsafe/error.h"

namespace halfsafe {

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

/// Tests with a folder of their own.
class FolderTest : public testing::Test {
 private:
  const TempFolder temporary_;

 protected:
  const std::filesystem::path folder_ = temporary_.path();
};

}  // namespace halfsafe
