#include "runtime/running.h"

#include <mutex>
#include <new>
#include <set>
#include <string_view>

#include "halfsafe/progress.h"

namespace halfsafe {
namespace {

struct AllRunning {
  std::mutex mutex;
  std::set<Running*> runs;
};

AllRunning& All() {
  static AllRunning& all = *new AllRunning;  // Never destroyed: a signal may come while statics are.
  return all;
}

}  // namespace

Running::Running() {
  AllRunning& all = All();
  const std::lock_guard lock(all.mutex);
  all.runs.insert(this);
  if (interrupt_requested) options_.SetTerminate();
}

Running::~Running() {
  AllRunning& all = All();
  const std::lock_guard lock(all.mutex);
  all.runs.erase(this);
}

void RequestInterrupt() {
  interrupt_requested = true;
  AllRunning& all = All();
  const std::lock_guard lock(all.mutex);
  for (Running* run : all.runs) run->options_.SetTerminate();
}

void RethrowIfNoFault(const Ort::Exception& error) {
  ThrowIfInterrupted();
  const std::string_view message = error.what();
  // What ONNX Runtime makes of the exception, and what its arena says.
  for (const std::string_view sign : {"bad_alloc", "Failed to allocate memory"}) {
    if (message.find(sign) != std::string_view::npos) throw std::bad_alloc();
  }
}

}  // namespace halfsafe
