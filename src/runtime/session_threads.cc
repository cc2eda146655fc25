#include "runtime/session_threads.h"

#include <unistd.h>

#include <atomic>
#include <chrono>
#include <exception>
#include <new>
#include <stdexcept>
#include <thread>

#include "base/room.h"

namespace halfsafe {
namespace {

// In all the longest that a pool may take to end. Time in which the process is stopped counts as one wait.
constexpr std::chrono::milliseconds kWait(100);
constexpr int kMostWaits = 300;

/// What a pool and the first steps of its threads take, and more: ONNX Runtime doesn't look whether it got
/// it.
constexpr size_t kRoomToBegin = 16 << 20;

}  // namespace

struct SessionThreads::Worker {
  SessionThreads* owner = nullptr;
  OrtThreadWorkerFn work = nullptr;  ///< What ONNX Runtime has the thread do; nullptr until it takes it.
  void* parameter = nullptr;
  bool done = false;
  std::thread thread;
};

SessionThreads::SessionThreads(int count) {
  for (int i = 1; i < count; ++i) workers_.push_back(std::make_unique<Worker>());
  try {
    for (const auto& worker : workers_) {
      worker->owner = this;
      worker->thread = std::thread([this, worker = worker.get()] { Serve(worker); });
    }
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return started_ == workers_.size(); });
    if (!HasRoomFor(kRoomToBegin)) throw std::bad_alloc();
  } catch (...) {
    End();
    throw;
  }
}

SessionThreads::~SessionThreads() { End(); }

void SessionThreads::ServeSessionOf(Ort::SessionOptions* options) {
  options->SetIntraOpNumThreads(static_cast<int>(workers_.size()) + 1);
  options->SetCustomCreateThreadFn(Take);
  options->SetCustomThreadCreationOptions(this);
  options->SetCustomJoinThreadFn(Join);
}

void SessionThreads::Begin() {
  const std::lock_guard lock(mutex_);
  Enter(State::kServing);
}

void SessionThreads::ExpectEnd() {
  const std::lock_guard lock(mutex_);
  Enter(State::kEnding);
}

OrtCustomThreadHandle SessionThreads::Take(void* self, OrtThreadWorkerFn work, void* parameter) noexcept {
  auto& threads = *static_cast<SessionThreads*>(self);
  const std::lock_guard lock(threads.mutex_);
  const size_t index = threads.asked_for_++;
  if (index >= threads.workers_.size()) return nullptr;  // ONNX Runtime refuses the session then.
  Worker* worker = threads.workers_[index].get();
  worker->work = work;
  worker->parameter = parameter;
  return reinterpret_cast<OrtCustomThreadHandle>(worker);
}

void SessionThreads::Join(OrtCustomThreadHandle handle) noexcept {
  const auto* worker = reinterpret_cast<const Worker*>(handle);
  SessionThreads& threads = *worker->owner;
  std::unique_lock lock(threads.mutex_);
  if (threads.state_ == State::kHeldBack) {
    // The session was refused. A pool that is whole can end, which also frees what each thread was given;
    // where it isn't, or its threads may not find what they need at first, some hundred bytes are lost with
    // it.
    const bool whole = threads.asked_for_ == threads.workers_.size();
    threads.Enter(whole && HasRoomFor(kRoomToBegin) ? State::kEnding : State::kGivenUp);
  }
  if (threads.state_ == State::kGivenUp) return;
  // Pools end within milliseconds, or never: a thread that died at its very end leaves the others waiting.
  for (int waits = 0; !worker->done; ++waits) {
    if (waits == kMostWaits) std::terminate();
    threads.changed_.wait_for(lock, kWait, [worker] { return worker->done; });
  }
}

void SessionThreads::Serve(Worker* worker) {
  {
    TakeShareOfHeap();
    std::unique_lock lock(mutex_);
    if (++started_ == workers_.size()) changed_.notify_all();
    changed_.wait(lock, [this] { return state_ != State::kHeldBack; });
    if (state_ == State::kGivenUp || worker->work == nullptr) return;
  }
  worker->work(worker->parameter);
  {
    const std::lock_guard lock(mutex_);
    worker->done = true;
    changed_.notify_all();
    if (state_ == State::kEnding) return;
  }
  static std::atomic_flag process_ends;
  while (process_ends.test_and_set()) pause();  // By another that died.
  throw std::runtime_error(
      "a thread of ONNX Runtime ended by an exception that it keeps to itself; out of memory most likely");
}

void SessionThreads::Enter(State state) {
  state_ = state;
  changed_.notify_all();
}

void SessionThreads::End() {
  {
    const std::lock_guard lock(mutex_);
    if (state_ == State::kHeldBack) Enter(State::kGivenUp);
  }
  for (const auto& worker : workers_) {
    if (worker->thread.joinable()) worker->thread.join();
  }
}

}  // namespace halfsafe
