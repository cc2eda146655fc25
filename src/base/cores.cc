#include "base/cores.h"

#include <fmt/format.h>
#include <sched.h>

#include <algorithm>
#include <fstream>
#include <memory>
#include <set>
#include <string>
#include <thread>

namespace halfsafe {
namespace {

/// The CPUs of the core that `cpu` belongs to, as Linux lists them ("0,8"); itself where it doesn't say.
std::string CpusOfCore(size_t cpu) {
  std::ifstream file(fmt::format("/sys/devices/system/cpu/cpu{}/topology/thread_siblings_list", cpu));
  std::string list;
  if (!std::getline(file, list)) list = std::to_string(cpu);
  return list;
}

}  // namespace

int UsableCores() {
  constexpr size_t kMost = 1 << 16;  // Of CPUs; Linux can be built for 8192.
  const std::unique_ptr<cpu_set_t, void (*)(cpu_set_t*)> usable(CPU_ALLOC(kMost),
                                                                [](cpu_set_t* set) { CPU_FREE(set); });
  const size_t size = CPU_ALLOC_SIZE(kMost);
  if (usable == nullptr || sched_getaffinity(0, size, usable.get()) != 0)
    return static_cast<int>(std::max(1U, std::thread::hardware_concurrency()));
  std::set<std::string> cores;
  for (size_t cpu = 0; cpu < kMost; ++cpu) {
    if (CPU_ISSET_S(cpu, size, usable.get())) cores.insert(CpusOfCore(cpu));
  }
  return static_cast<int>(std::max<size_t>(1, cores.size()));
}

}  // namespace halfsafe
