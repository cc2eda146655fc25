#include "tensorrt/nvidia/cuda.h"

#include <fmt/format.h>

#include <algorithm>

#include "halfsafe/error.h"

namespace halfsafe {

void CheckCuda(cudaError_t status, const char* what) {
  if (status == cudaSuccess) return;
  const char* reason =
      status == cudaErrorMemoryAllocation ? "the GPU is out of memory" : cudaGetErrorString(status);
  throw Error(ExitCode::kInternal, fmt::format("{}: {}", what, reason));
}

void* DeviceBuffer::Reserve(size_t bytes) {
  if (data_ != nullptr && bytes <= size_) return data_;
  cudaFree(data_);
  data_ = nullptr;
  size_ = std::max<size_t>(bytes, 1);
  CheckCuda(cudaMalloc(&data_, size_), "cudaMalloc");
  return data_;
}

}  // namespace halfsafe
