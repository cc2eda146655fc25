#pragma once

namespace halfsafe {

/// How many processes the environment says that an MPI launcher started together: Open MPI's, MPICH's and its
/// kin's, or Slurm's through PMIx. 1 where it names none: asking MPI itself would cost every process its
/// startup.
int LaunchedRanks();

}  // namespace halfsafe
