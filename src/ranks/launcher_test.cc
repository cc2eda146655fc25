#include "ranks/launcher.h"

#include <gtest/gtest.h>

#include <cstdlib>

namespace halfsafe {
namespace {

/// Each test starts without a launcher.
class LauncherTest : public testing::Test {
 protected:
  void SetUp() override { Clear(); }
  void TearDown() override { Clear(); }
  static void Clear() {
    for (const char* name : {"OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "PMIX_RANK", "SLURM_STEP_NUM_TASKS"})
      unsetenv(name);
  }
};

TEST_F(LauncherTest, AloneWithoutALauncher) { EXPECT_EQ(LaunchedRanks(), 1); }

TEST_F(LauncherTest, LaunchersSayHowMany) {
  for (const char* name : {"OMPI_COMM_WORLD_SIZE", "PMI_SIZE"}) {
    setenv(name, "4", 1);
    EXPECT_EQ(LaunchedRanks(), 4) << name;
    Clear();
  }
}

TEST_F(LauncherTest, TasksCountWhereThereIsARank) {
  setenv("SLURM_STEP_NUM_TASKS", "3", 1);
  EXPECT_EQ(LaunchedRanks(), 1);
  setenv("PMIX_RANK", "0", 1);
  EXPECT_EQ(LaunchedRanks(), 3);
}

TEST_F(LauncherTest, NonsenseIsNobody) {
  setenv("PMI_SIZE", "many", 1);
  EXPECT_EQ(LaunchedRanks(), 1);
}

}  // namespace
}  // namespace halfsafe
