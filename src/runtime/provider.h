#pragma once

#include <onnxruntime_cxx_api.h>

#include "halfsafe/provider.h"

namespace halfsafe {

/// ONNX Runtime's name of the CUDA provider.
inline constexpr char kCudaProvider[] = "CUDAExecutionProvider";

/// The process's one environment of ONNX Runtime.
Ort::Env& Environment();

/// Throws Error(kUnavailable) where sessions can't run on `provider`: ONNX Runtime lacks it, or it lacks a
/// GPU or a library. Tried once in a process, on a model of one node.
void RequireProvider(Provider provider);

/// Makes sessions of `options` run on `provider`.
void AppendProvider(Provider provider, Ort::SessionOptions* options);

}  // namespace halfsafe
