#include "halfsafe/error.h"
#include "ranks/launcher.h"
#include "ranks/ranks.h"

namespace halfsafe {

std::unique_ptr<Ranks> ConnectRanks() {
  if (LaunchedRanks() < 2) return nullptr;
  throw Error(ExitCode::kUnavailable,
              "an MPI launcher started this process as one of several, and this build of halfsafe has no "
              "MPI: build it with "
              "-DHALFSAFE_MPI=ON, or give each process its share with --shard I/N and join the results with "
              "halfsafe merge");
}

}  // namespace halfsafe
