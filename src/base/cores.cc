#include "base/cores.h"

#include <fmt/format.h>
#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <functional>
#include <memory>
#include <set>
#include <string>

namespace halfsafe {
namespace {

/// The CPUs of the core that `cpu` belongs to, as Linux lists them ("0,8"); itself where it doesn't say.
std::string CpusOfCore(size_t cpu) {
  std::ifstream file(fmt::format("/sys/devices/system/cpu/cpu{}/topology/thread_siblings_list", cpu));
  std::string list;
  if (!std::getline(file, list)) list = std::to_string(cpu);
  return list;
}

/// The cores of those of the first `cpus` CPUs that `counts` is true of.
int CountCores(size_t cpus, const std::function<bool(size_t cpu)>& counts) {
  std::set<std::string> cores;
  for (size_t cpu = 0; cpu < cpus; ++cpu) {
    if (counts(cpu)) cores.insert(CpusOfCore(cpu));
  }
  return static_cast<int>(std::max<size_t>(1, cores.size()));
}

constexpr size_t kMostCpus = 1 << 16;  // Linux can be built for 8192.

}  // namespace

int UsableCores() {
  const std::unique_ptr<cpu_set_t, void (*)(cpu_set_t*)> usable(CPU_ALLOC(kMostCpus),
                                                                [](cpu_set_t* set) { CPU_FREE(set); });
  const size_t size = CPU_ALLOC_SIZE(kMostCpus);
  if (usable == nullptr || sched_getaffinity(0, size, usable.get()) != 0) return MachineCores();
  return CountCores(kMostCpus, [&](size_t cpu) { return CPU_ISSET_S(cpu, size, usable.get()) != 0; });
}

int MachineCores() {
  const long cpus = std::max(1L, sysconf(_SC_NPROCESSORS_ONLN));
  return CountCores(static_cast<size_t>(cpus), [](size_t) { return true; });
}

}  // namespace halfsafe
