#pragma once

#include <onnxruntime_cxx_api.h>

#include <condition_variable>
#include <memory>
#include <mutex>
#include <vector>

namespace halfsafe {

/// The threads of one session, started before ONNX Runtime makes its pool of them, and held back until the
/// session is made.
///
/// ONNX Runtime ends a pool by telling threads that have nothing to do to end once all have. It waits for
/// ever where it could start some and not all, and where an exception has ended one, as where the thread's
/// first allocation fails: it catches that, tells nobody, and waits for what the thread was at. Here a
/// machine without room for the threads says so before. A thread that ends while its session serves ends the
/// process, by std::terminate, for no call could be made to return.
class SessionThreads {
 public:
  /// Threads for a session of `count`, which takes the caller's as the first. Throws std::system_error or
  /// std::bad_alloc where the machine has no room for them.
  explicit SessionThreads(int count);
  /// Ends the threads. The session must have ended.
  ~SessionThreads();
  SessionThreads(const SessionThreads&) = delete;
  SessionThreads& operator=(const SessionThreads&) = delete;

  /// Sets the number of threads, and has the session of `options` take these, which must outlive it.
  void ServeSessionOf(Ort::SessionOptions* options);
  /// The session is made: its threads run.
  void Begin();
  /// The session is about to end, and its threads with it. Without `Begin` it needs no call.
  void ExpectEnd();

 private:
  struct Worker;
  enum class State {
    kHeldBack,
    kServing,
    kEnding,
    kGivenUp,  ///< What ONNX Runtime has them do is not begun.
  };

  static OrtCustomThreadHandle Take(void* self, OrtThreadWorkerFn work, void* parameter) noexcept;
  static void Join(OrtCustomThreadHandle handle) noexcept;
  void Serve(Worker* worker);
  void Enter(State state);  ///< Under the lock.
  void End();

  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<std::unique_ptr<Worker>> workers_;
  size_t started_ = 0;
  size_t asked_for_ = 0;  ///< By ONNX Runtime, which has the first ones.
  State state_ = State::kHeldBack;
};

}  // namespace halfsafe
