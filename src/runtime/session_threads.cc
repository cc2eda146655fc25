#include "runtime/session_threads.h"

#include <chrono>
#include <exception>
#include <new>
#include <stdexcept>
#include <thread>

#include "base/room.h"

namespace halfsafe {
namespace {

constexpr std::chrono::seconds kLongestEnd(30);

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

void SessionThreads::Begin() { Enter(State::kServing); }

void SessionThreads::ExpectEnd() { Enter(State::kEnding); }

OrtCustomThreadHandle SessionThreads::Take(void* self, OrtThreadWorkerFn work, void* parameter) noexcept {
  auto& threads = *static_cast<SessionThreads*>(self);
  const std::lock_guard lock(threads.mutex_);
  if (threads.taken_ == threads.workers_.size()) return nullptr;  // ONNX Runtime refuses the session then.
  Worker* worker = threads.workers_[threads.taken_++].get();
  worker->work = work;
  worker->parameter = parameter;
  return reinterpret_cast<OrtCustomThreadHandle>(worker);
}

void SessionThreads::Join(OrtCustomThreadHandle handle) noexcept {
  // ONNX Runtime has its handles const.
  auto* worker = const_cast<Worker*>(reinterpret_cast<const Worker*>(handle));
  SessionThreads& threads = *worker->owner;
  std::unique_lock lock(threads.mutex_);
  if (threads.state_ == State::kHeldBack) {
    // The session was refused, and may lack threads, or memory for them to end. `work` alone could free its
    // parameter, of some hundred bytes.
    worker->work = nullptr;
    return;
  }
  // Pools end within milliseconds, or never: a thread that died at its very end leaves the others waiting.
  const auto done = [worker] { return worker->done; };
  if (!threads.changed_.wait_for(lock, kLongestEnd, done)) std::terminate();
}

void SessionThreads::Serve(Worker* worker) {
  {
    HasRoomFor(1);  // Has the C library set aside what it gives each thread.
    std::unique_lock lock(mutex_);
    ++started_;
    changed_.notify_all();
    changed_.wait(lock, [this] { return state_ != State::kHeldBack; });
    if (worker->work == nullptr) return;
  }
  worker->work(worker->parameter);
  {
    const std::lock_guard lock(mutex_);
    worker->done = true;
    changed_.notify_all();
    if (state_ == State::kEnding) return;
  }
  throw std::runtime_error(
      "a thread of ONNX Runtime ended by an exception that it keeps to itself; out of memory most likely");
}

void SessionThreads::Enter(State state) {
  const std::lock_guard lock(mutex_);
  state_ = state;
  changed_.notify_all();
}

void SessionThreads::End() {
  ExpectEnd();
  for (const auto& worker : workers_) {
    if (worker->thread.joinable()) worker->thread.join();
  }
}

}  // namespace halfsafe
