#pragma once

#include <onnxruntime_cxx_api.h>

namespace halfsafe {

/// Options of a run under way, which RequestInterrupt ends.
class Running {
 public:
  Running();
  ~Running();
  Running(const Running&) = delete;
  Running& operator=(const Running&) = delete;

  const Ort::RunOptions& options() const { return options_; }

 private:
  friend void RequestInterrupt();
  Ort::RunOptions options_;
};

/// Throws what an exception of ONNX Runtime means where it is not the model's or the sample's fault: that the
/// work was interrupted, or std::bad_alloc.
void RethrowIfNoFault(const Ort::Exception& error);

}  // namespace halfsafe
