#pragma once

namespace halfsafe {

/// What ONNX Runtime computes on.
enum class Provider {
  kCpu,
  kCuda,  ///< An NVIDIA GPU. What it has no kernel for still runs on the CPU.
};

}  // namespace halfsafe
