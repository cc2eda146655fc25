#include "cli/signals.h"

#include <execinfo.h>
#include <fmt/format.h>
#include <semaphore.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <exception>
#include <filesystem>
#include <new>
#include <thread>

#include "base/display.h"
#include "base/file.h"
#include "cli/console.h"
#include "halfsafe/error.h"
#include "halfsafe/progress.h"

namespace halfsafe {
namespace {

// Handlers may do next to nothing, so they wake a thread that does the work.
sem_t woken;
std::atomic<int> stop_signal{0};  ///< The first one; 0 before.
std::atomic<int> stops{0};        ///< How many came.
std::atomic<bool> faulted{false};
std::atomic<const void*> fault_address{nullptr};

extern "C" void OnStop(int signal) {
  const int reason = errno;
  int none = 0;
  stop_signal.compare_exchange_strong(none, signal);
  ++stops;
  sem_post(&woken);
  errno = reason;
}

extern "C" void OnBusError(int, siginfo_t* info, void*) {
  if (!faulted.exchange(true)) {
    fault_address = info->si_addr;
    sem_post(&woken);
  }
  while (true) pause();  // What this thread was at can't go on.
}

[[noreturn]] void EndAtOnce(int code) {
  AbandonTemporaries();
  std::_Exit(code);
}

[[noreturn]] void EndAfterFault() {
  const std::filesystem::path file = MappedFileAt(fault_address);
  if (!file.empty()) {
    Tell(fmt::format("halfsafe: {} became shorter while it was read\n", Printable(file.string())));
    EndAtOnce(static_cast<int>(ExitCode::kBadInput));
  }
  AbandonTemporaries();
  std::signal(SIGBUS, SIG_DFL);
  std::raise(SIGBUS);
  std::abort();
}

void Watch() {
  while (true) {
    while (sem_wait(&woken) != 0) continue;
    if (faulted && fault_address != nullptr) EndAfterFault();
    if (stops == 0) continue;
    RequestInterrupt();
    // The second time, whoever waits doesn't want to wait for the end of a step.
    if (stops > 1) EndAtOnce(InterruptedCode());
  }
}

/// For exceptions where none may pass, as on threads that libraries started.
[[noreturn]] void OnTerminate() {
  try {
    try {
      if (const std::exception_ptr thrown = std::current_exception()) std::rethrow_exception(thrown);
      Tell("halfsafe: internal error\n");
    } catch (const std::exception& error) {
      if (dynamic_cast<const std::bad_alloc*>(&error) != nullptr) throw;
      Tell(fmt::format("halfsafe: internal error: {}\n", Printable(error.what())));
    }
  } catch (...) {
    Tell(kOutOfMemory);  // Nobody throws anything but exceptions.
  }
  EndAtOnce(static_cast<int>(ExitCode::kInternal));
}

void Handle(int signal, void (*handler)(int)) {
  struct sigaction before {};
  // As nohup and shells' background jobs have it.
  if (sigaction(signal, nullptr, &before) == 0 && before.sa_handler == SIG_IGN) return;
  std::signal(signal, handler);
}

}  // namespace

void WatchSignals() {
  // Loads what glibc unwinds with where an exception passes through it, which takes memory.
  void* frame = nullptr;
  backtrace(&frame, 1);
  std::set_terminate(&OnTerminate);
  sem_init(&woken, 0, 0);
  std::thread(&Watch).detach();
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) Handle(signal, &OnStop);
  for (const int signal : {SIGPIPE, SIGXFSZ}) std::signal(signal, SIG_IGN);
  struct sigaction bus {};
  bus.sa_sigaction = &OnBusError;
  bus.sa_flags = SA_SIGINFO;
  sigaction(SIGBUS, &bus, nullptr);
}

int InterruptedCode() { return 128 + (stop_signal != 0 ? stop_signal.load() : SIGINT); }

}  // namespace halfsafe
