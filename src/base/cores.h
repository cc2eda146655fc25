#pragma once

namespace halfsafe {

/// The processor cores that this process may run on, at least 1. CPUs that share a core, as hyperthreads do,
/// count once: arithmetic gains little from a second thread on the same units. Affinity (taskset, cpusets of
/// containers, launchers of ranks) counts; a container's quota of CPU time does not.
int UsableCores();

}  // namespace halfsafe
