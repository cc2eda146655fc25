#pragma once

#include <atomic>
#include <cstdint>
#include <string_view>

#include "halfsafe/error.h"

namespace halfsafe {

/// Listens to long work. The library itself prints nothing.
class Progress {
 public:
  virtual ~Progress() = default;
  /// A stage begins ("scan", "check", ...); `total` is its number of steps, 0 when unknown.
  virtual void Begin(std::string_view /*stage*/, uint64_t /*total*/) {}
  /// One step (a calibration sample) is done.
  virtual void Step() {}
  /// The stage is over, also when it ended early.
  virtual void End() {}
  /// Something the user should know, which is not an error.
  virtual void Warn(std::string_view /*message*/) {}
};

/// Set from a signal handler to stop work at the next safe point.
inline std::atomic<bool> interrupt_requested{false};

/// Sets `interrupt_requested`, and has what ONNX Runtime runs end at its next operator instead of the end of
/// the sample. Any thread may call it, but no signal handler.
void RequestInterrupt();

/// Throws Error(kInterrupted) once `interrupt_requested` is set. Long loops call it at each step.
inline void ThrowIfInterrupted() {
  if (interrupt_requested.load(std::memory_order_relaxed)) throw Error(ExitCode::kInterrupted, "interrupted");
}

}  // namespace halfsafe
