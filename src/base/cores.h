#pragma once

namespace halfsafe {

// CPUs that share a core, as hyperthreads do, count once: arithmetic gains little from a second thread on the
// same units.

/// The processor cores that the calling thread, and those that it starts, may run on, at least 1. Affinity
/// (taskset, cpusets of containers, launchers of ranks) counts; a container's quota of CPU time does not.
int UsableCores();

/// The machine's cores, at least 1, whoever may run on them.
int MachineCores();

}  // namespace halfsafe
