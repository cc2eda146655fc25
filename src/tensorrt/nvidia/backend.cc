#include "tensorrt/nvidia/backend.h"

#include <NvInferPlugin.h>
#include <fmt/format.h>

#include "halfsafe/error.h"
#include "tensorrt/nvidia/cuda.h"
#include "tensorrt/nvidia/versions.h"

namespace halfsafe {
namespace {

/// The name of the GPU. TensorRT itself would only fail to make a builder where there is none.
std::string FindGpu() {
  int count = 0;
  const cudaError_t status = cudaGetDeviceCount(&count);
  if (status != cudaSuccess || count == 0) {
    throw Error(
        ExitCode::kUnavailable,
        fmt::format("no GPU: {}", status != cudaSuccess ? cudaGetErrorString(status) : "CUDA finds none"));
  }
  int device = 0;
  CheckCuda(cudaGetDevice(&device), "cudaGetDevice");
  cudaDeviceProp properties{};
  CheckCuda(cudaGetDeviceProperties(&properties, device), "cudaGetDeviceProperties");
  return properties.name;
}

class NvidiaBackend : public Backend {
 public:
  NvidiaBackend(const std::vector<std::filesystem::path>& plugins, Progress* progress)
      : gpu_(FindGpu()), logger_(progress) {
    Require(initLibNvInferPlugins(&logger_, ""), logger_, ExitCode::kUnavailable,
            "TensorRT's own plugins do not load");
    runtime_.reset(nvinfer1::createInferRuntime(logger_));
    Require(runtime_ != nullptr, logger_, ExitCode::kUnavailable, "TensorRT makes no runtime");
    // An engine is a program for the GPU that its user chose to run; the part of a version-compatible one
    // that runs on the host is no different.
    runtime_->setEngineHostCodeAllowed(true);
    for (const std::filesystem::path& plugin : plugins) {
      Require(runtime_->getPluginRegistry().loadLibrary(plugin.c_str()) != nullptr, logger_,
              ExitCode::kBadInput, fmt::format("the plugin library {} does not load", plugin.string()));
    }
  }

  std::string version() const override { return VersionText(getInferLibVersion()); }
  std::string gpu() const override { return gpu_; }
  bool Supports(Typing typing) const override { return HasTyping(typing); }
  Typing default_typing() const override {
    return HasTyping(Typing::kStrong) ? Typing::kStrong : Typing::kWeak;
  }
  bool has_bf16() const override { return HasBf16(); }
  bool has_int64() const override { return HasInt64(); }
  BuiltEngine Build(const EngineRequest& request, const BuildOptions& options) override {
    return BuildNetwork(request, options, &logger_);
  }
  std::unique_ptr<LoadedEngine> Load(std::span<const std::byte> engine, std::string_view where) override {
    return LoadEngine(runtime_.get(), engine, where, &logger_);
  }
  const std::vector<std::string>& warnings() const override { return logger_.warnings(); }

 private:
  std::string gpu_;
  Logger logger_;
  std::unique_ptr<nvinfer1::IRuntime> runtime_;
};

}  // namespace

void Logger::log(Severity severity, const char* message) noexcept {
  if (severity > Severity::kWARNING) return;
  try {
    if (severity == Severity::kWARNING) {
      warnings_.Add(message, "TensorRT: ");
    } else {
      last_error_ = message;
    }
  } catch (const std::exception&) {
    // Out of memory for a message: the call that it is about fails or not without it.
  }
}

std::string Logger::Reason() const { return last_error_.empty() ? "" : ": " + last_error_; }

void Require(bool condition, const Logger& logger, ExitCode code, const std::string& what) {
  if (condition) return;
  const std::string reason = logger.Reason();
  const bool memory =
      reason.find("out of memory") != std::string::npos || reason.find("OutOfMemory") != std::string::npos;
  throw Error(memory ? ExitCode::kInternal : code, what + reason);
}

nvinfer1::Dims ToDims(const std::vector<int64_t>& shape) {
  nvinfer1::Dims dims{};
  if (shape.size() > nvinfer1::Dims::MAX_DIMS) {
    throw BadInput(fmt::format("a tensor has {} dimensions, TensorRT takes {}", shape.size(),
                               static_cast<int>(nvinfer1::Dims::MAX_DIMS)));
  }
  dims.nbDims = static_cast<int32_t>(shape.size());
  for (size_t i = 0; i < shape.size(); ++i)
    dims.d[i] = static_cast<std::decay_t<decltype(dims.d[0])>>(shape[i]);
  return dims;
}

std::vector<int64_t> ToShape(const nvinfer1::Dims& dims) {
  if (dims.nbDims < 0) return {};
  return {dims.d, dims.d + dims.nbDims};
}

DType ToDType(nvinfer1::DataType type) {
  // By number: older headers lack the newer names.
  switch (static_cast<int>(type)) {
    case 0:
      return DType::kFloat;
    case 1:
      return DType::kFloat16;
    case 2:
      return DType::kInt8;
    case 3:
      return DType::kInt32;
    case 4:
      return DType::kBool;
    case 5:
      return DType::kUint8;
    case 7:
      return DType::kBfloat16;
    case 8:
      return DType::kInt64;
    default:
      return DType::kUndefined;
  }
}

std::unique_ptr<Backend> OpenBackend(const std::vector<std::filesystem::path>& plugins, Progress* progress) {
  return std::make_unique<NvidiaBackend>(plugins, progress);
}

}  // namespace halfsafe
