#pragma once

namespace halfsafe {

/// Whether the environment says that an MPI launcher (Open MPI's, MPICH's, or a batch system's through PMIx)
/// started this process. Asking MPI itself costs a tenth of a second, alone too.
bool StartedByLauncher();

}  // namespace halfsafe
