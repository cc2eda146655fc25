#include "ranks/launcher.h"

#include <algorithm>
#include <cstdlib>

namespace halfsafe {
namespace {

int NumberIn(const char* variable) {
  const char* value = std::getenv(variable);
  return value == nullptr ? 1 : std::atoi(value);
}

}  // namespace

int LaunchedRanks() {
  int ranks = std::max({1, NumberIn("OMPI_COMM_WORLD_SIZE"), NumberIn("PMI_SIZE")});
  // A batch script has tasks too, but no rank.
  if (std::getenv("PMIX_RANK") != nullptr) ranks = std::max(ranks, NumberIn("SLURM_STEP_NUM_TASKS"));
  return ranks;
}

}  // namespace halfsafe
