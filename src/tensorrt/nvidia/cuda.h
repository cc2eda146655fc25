#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <utility>

namespace halfsafe {

/// Throws Error(kInternal) that says what failed and why; out of memory is named as such.
void CheckCuda(cudaError_t status, const char* what);

/// Memory of the GPU that grows as needed.
class DeviceBuffer {
 public:
  DeviceBuffer() = default;
  DeviceBuffer(const DeviceBuffer&) = delete;
  DeviceBuffer& operator=(const DeviceBuffer&) = delete;
  ~DeviceBuffer() { cudaFree(data_); }

  /// At least one byte, so that empty tensors have an address too. What it held is lost where it grows.
  void* Reserve(size_t bytes);
  void* data() const { return data_; }

 private:
  void* data_ = nullptr;
  size_t size_ = 0;
};

class Stream {
 public:
  Stream() { CheckCuda(cudaStreamCreate(&stream_), "cudaStreamCreate"); }
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;
  ~Stream() { cudaStreamDestroy(stream_); }
  cudaStream_t get() const { return stream_; }
  void Wait() const { CheckCuda(cudaStreamSynchronize(stream_), "running the engine"); }

 private:
  cudaStream_t stream_ = nullptr;
};

class Event {
 public:
  Event() { CheckCuda(cudaEventCreate(&event_), "cudaEventCreate"); }
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;
  ~Event() { cudaEventDestroy(event_); }
  cudaEvent_t get() const { return event_; }

 private:
  cudaEvent_t event_ = nullptr;
};

}  // namespace halfsafe
