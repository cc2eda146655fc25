#pragma once

#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>

#include <chrono>
#include <functional>
#include <future>
#include <mutex>
#include <string>
#include <vector>

#include "halfsafe/progress.h"

namespace halfsafe::python {

namespace nb = nanobind;

/// Tells a Python callable how far the work is: callback(stage, done, total). Warnings are kept for the end,
/// because Python's belong to the thread that asked for the work.
class PythonProgress : public Progress {
 public:
  /// `callback` may be None.
  explicit PythonProgress(nb::object callback) : callback_(std::move(callback)) {}
  void Begin(std::string_view stage, uint64_t total) override;
  void Step() override;
  void Warn(std::string_view message) override;
  /// Gives warnings out as halfsafe.ModelWarning. Needs the GIL.
  void IssueWarnings() const;

 private:
  void Tell(const std::string& stage, uint64_t done, uint64_t total) const;

  nb::object callback_;
  std::mutex mutex_;
  std::string stage_;
  uint64_t total_ = 0, done_ = 0;
  std::vector<std::string> warnings_;
};

/// Waits until `finished`, which itself waits a moment, says so. Meanwhile Python's signal handlers run;
/// where one raises, as that of Ctrl-C does, all work is told to stop, and what was raised is thrown when it
/// has. To be called without the GIL.
void WaitWithSignals(const std::function<bool()>& finished);

/// Runs `work(progress)` on a thread of its own and without the GIL, which samples and `callback` take when
/// they need it. This thread stays open to signals.
template <typename Work>
auto Run(const nb::object& callback, const Work& work) {
  PythonProgress progress(callback);
  auto result = [&] {
    const nb::gil_scoped_release release;
    auto future = std::async(std::launch::async, [&] { return work(&progress); });
    constexpr std::chrono::milliseconds kMoment{50};
    WaitWithSignals([&] { return future.wait_for(kMoment) == std::future_status::ready; });
    return future.get();
  }();
  progress.IssueWarnings();
  return result;
}

}  // namespace halfsafe::python
