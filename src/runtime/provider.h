#pragma once

#include <onnxruntime_cxx_api.h>

#include <array>
#include <string_view>

#include "halfsafe/provider.h"

namespace halfsafe {

/// ONNX Runtime's name of the CUDA provider.
inline constexpr char kCudaProvider[] = "CUDAExecutionProvider";

/// Operators whose kernels of the CUDA provider store a sum in FP16 before they go on (ReduceMean divides
/// it), where their tensors are FP16: seen with ONNX Runtime 1.31 (docs/cuda.md).
inline constexpr std::array<std::string_view, 2> kCudaSumsInFp16 = {"ReduceMean", "ReduceSum"};

/// The process's one environment of ONNX Runtime.
Ort::Env& Environment();

/// Throws Error(kUnavailable) where sessions can't run on `provider`: ONNX Runtime lacks it, or it lacks a
/// GPU or a library. Tried once in a process, on a model of one node.
void RequireProvider(Provider provider);

/// Makes sessions of `options` run on `provider`.
void AppendProvider(Provider provider, Ort::SessionOptions* options);

}  // namespace halfsafe
