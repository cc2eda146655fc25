#include "base/cores.h"

#include <gtest/gtest.h>
#include <sched.h>
#include <unistd.h>

#include <thread>

namespace halfsafe {
namespace {

TEST(CoresTest, AreNoMoreThanCpus) {
  EXPECT_GE(UsableCores(), 1);
  EXPECT_LE(UsableCores(), MachineCores());
  EXPECT_LE(MachineCores(), sysconf(_SC_NPROCESSORS_CONF));
}

TEST(CoresTest, CountWhereTheThreadMayRun) {
  // On a thread of its own, whose affinity goes with it.
  std::thread([] {
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(sched_getcpu(), &one);
    ASSERT_EQ(sched_setaffinity(0, sizeof one, &one), 0);
    EXPECT_EQ(UsableCores(), 1);
  }).join();
}

}  // namespace
}  // namespace halfsafe
