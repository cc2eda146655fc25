#include "work.h"

namespace halfsafe::python {

void PythonProgress::Begin(std::string_view stage, uint64_t total) {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    stage_ = stage;
    total_ = total;
    done_ = 0;
  }
  Tell(std::string(stage), 0, total);
}

void PythonProgress::Step() {
  std::unique_lock<std::mutex> lock(mutex_);
  const uint64_t done = ++done_, total = total_;
  const std::string stage = stage_;
  lock.unlock();
  Tell(stage, done, total);
}

void PythonProgress::Warn(std::string_view message) {
  const std::lock_guard<std::mutex> lock(mutex_);
  warnings_.emplace_back(message);
}

void PythonProgress::IssueWarnings() const {
  if (warnings_.empty()) return;
  const nb::object category = nb::module_::import_("halfsafe._errors").attr("ModelWarning");
  for (const std::string& warning : warnings_) {
    // Of the user's line: one level is the package's own function.
    if (PyErr_WarnEx(category.ptr(), warning.c_str(), 2) != 0) throw nb::python_error();
  }
}

void PythonProgress::Tell(const std::string& stage, uint64_t done, uint64_t total) const {
  if (callback_.is_none()) return;
  const nb::gil_scoped_acquire gil;
  callback_(stage, done, total);
}

void WaitWithSignals(const std::function<bool()>& finished) {
  while (!finished()) {
    const nb::gil_scoped_acquire gil;
    if (PyErr_CheckSignals() == 0) continue;
    const nb::python_error raised;
    {
      const nb::gil_scoped_release release;
      RequestInterrupt();
      while (!finished()) continue;
      interrupt_requested = false;
    }
    throw raised;
  }
}

}  // namespace halfsafe::python
