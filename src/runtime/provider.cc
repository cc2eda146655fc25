#include "runtime/provider.h"

#include <fmt/format.h>
#include <onnx/defs/parser.h>

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "halfsafe/error.h"

namespace halfsafe {
namespace {

constexpr const char* kCudaOptions[][2] = {
    // TF32 keeps 10 bits of mantissa, as FP16 does: its results are no reference for FP32's.
    {"use_tf32", "0"},
    // The default times all algorithms of each convolution and takes the fastest, which may be another in the
    // next run, with other sums.
    {"cudnn_conv_algo_search", "HEURISTIC"},
    // The default doubles what it has whenever it needs more.
    {"arena_extend_strategy", "kSameAsRequested"},
};

void AppendCuda(Ort::SessionOptions* options) {
  Environment();  // The provider's library, which this loads, wants to log.
  const OrtApi& api = Ort::GetApi();
  OrtCUDAProviderOptionsV2* created = nullptr;
  Ort::ThrowOnError(api.CreateCUDAProviderOptions(&created));
  const std::unique_ptr<OrtCUDAProviderOptionsV2, decltype(api.ReleaseCUDAProviderOptions)> cuda(
      created, api.ReleaseCUDAProviderOptions);
  std::vector<const char*> names, values;
  for (const auto& [name, value] : kCudaOptions) {
    names.push_back(name);
    values.push_back(value);
  }
  Ort::ThrowOnError(api.UpdateCUDAProviderOptions(cuda.get(), names.data(), values.data(), names.size()));
  options->AppendExecutionProvider_CUDA_V2(*cuda);
}

constexpr char kSmallestModel[] =
    "<ir_version: 8, opset_import: [\"\" : 17]> smallest (float[1] x) => (float[1] y) { y = Neg(x) }";

/// Runs the smallest model: the libraries of CUDA are loaded one after the other, some by the first run.
void TryCuda() {
  Ort::SessionOptions options;
  options.SetIntraOpNumThreads(1);
  AppendCuda(&options);
  onnx::ModelProto proto;
  if (!onnx::OnnxParser::Parse(proto, kSmallestModel).IsOK()) throw Ort::Exception("not a model", ORT_FAIL);
  const std::string model = proto.SerializeAsString();
  Ort::Session session(Environment(), model.data(), model.size(), options);
  float value = 1.0f;
  const int64_t shape = 1;
  const Ort::MemoryInfo memory = Ort::MemoryInfo::CreateCpu(OrtArenaAllocator, OrtMemTypeDefault);
  const Ort::Value input = Ort::Value::CreateTensor<float>(memory, &value, 1, &shape, 1);
  const char *x = "x", *y = "y";
  session.Run(Ort::RunOptions{}, &x, &input, 1, &y, 1);
}

void RequireCuda() {
  const std::vector<std::string> providers = Ort::GetAvailableProviders();
  if (std::find(providers.begin(), providers.end(), kCudaProvider) == providers.end()) {
    throw Error(
        ExitCode::kUnavailable,
        fmt::format("the ONNX Runtime that was loaded, {}, has no CUDA provider: the library of package "
                    "onnxruntime-gpu has one (docs/cuda.md)",
                    Ort::GetVersionString()));
  }
  try {
    TryCuda();
  } catch (const Ort::Exception& error) {
    throw Error(
        ExitCode::kUnavailable,
        fmt::format("ONNX Runtime {} can't run on CUDA, which takes an NVIDIA GPU with its driver, and CUDA "
                    "13 and cuDNN 9 where the loader finds them (docs/cuda.md): {}",
                    Ort::GetVersionString(), error.what()));
  }
}

}  // namespace

Ort::Env& Environment() {
  // Never destroyed: at the end of a process CUDA's libraries may be gone before it.
  static Ort::Env& env = *[] {
    // Releases from PyPI write a file under the user's home and report to their maker. Unless the user says
    // otherwise, a model's file stays on this machine, and so does the news that there is one.
    setenv("ORT_DISABLE_TELEMETRY", "1", /*overwrite=*/0);
    // Silent: every failure comes back as an exception and is reported once, in our words.
    return new Ort::Env(ORT_LOGGING_LEVEL_FATAL, "halfsafe");
  }();
  return env;
}

void RequireProvider(Provider provider) {
  static std::once_flag tried;
  if (provider == Provider::kCuda) std::call_once(tried, RequireCuda);
}

void AppendProvider(Provider provider, Ort::SessionOptions* options) {
  RequireProvider(provider);
  if (provider == Provider::kCuda) AppendCuda(options);
}

}  // namespace halfsafe
