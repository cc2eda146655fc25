#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <vector>

#include "base/file.h"
#include "fuzz/targets.h"

namespace halfsafe::fuzz {
namespace {

/// Each target with every file of its corpus: what reached something new once, and what broke something.
class FuzzCorpus : public testing::TestWithParam<Target> {};

TEST_P(FuzzCorpus, IsHandled) {
  const auto folder =
      std::filesystem::path(HALFSAFE_SOURCE_DIR) / "tests" / "fuzz" / "corpus" / GetParam().name;
  std::vector<std::filesystem::path> files;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) files.push_back(entry.path());
  std::sort(files.begin(), files.end());
  EXPECT_FALSE(files.empty());
  for (const auto& file : files) {
    SCOPED_TRACE(file.string());
    EXPECT_NO_THROW(GetParam().run(MappedFile(file, "corpus").bytes()));
  }
  GetParam().run({});
}

INSTANTIATE_TEST_SUITE_P(Each, FuzzCorpus, testing::ValuesIn(kTargets),
                         [](const auto& target) { return std::string(target.param.name); });

}  // namespace
}  // namespace halfsafe::fuzz
