#pragma once

#include <NvInfer.h>
#include <cuda_runtime_api.h>

#include <cstdint>
#include <iostream>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "arrays.h"

namespace halfsafe::bench {

/// The command line.
struct Options {
  std::string model;
  std::string samples;
  std::string reference;
  std::string pins;
  std::string layers;
  std::string timing_cache;
  std::string json;
  std::string name;
  std::string mode;
  int level = 3;  ///< the builder's optimization level, 0 to 5; 3 is TensorRT's default
  bool fp16 = false;
  bool all_tactics = false;
  bool device_only = false;
  int64_t batch = 1;
  size_t workspace = size_t{1} << 30;
  int runs = 50;
};

/// What the JSON line says. Fields that a failed run does not reach keep their defaults.
struct Result {
  std::string error;
  std::string device;
  std::string tensorrt;
  double build_seconds = 0;
  double engine_bytes = 0;
  std::optional<double> median_ms;
  std::optional<double> p99_ms;
  std::optional<double> graph_median_ms;  ///< the same with the launches captured in a CUDA graph
  Difference difference;
  size_t samples = 0;
  int layers = 0;         ///< of the parsed network
  int engine_layers = 0;  ///< after fusion
  int pinned_layers = 0;
  std::vector<std::string> unmatched_pins;
  int builder_warnings = 0;
  bool batched = false;  ///< whether --batch reached any input
};

/// Prints what TensorRT has to say from warnings on, and keeps count.
class Logger : public nvinfer1::ILogger {
 public:
  void log(Severity severity, const char* message) noexcept override {
    if (severity > Severity::kWARNING) return;
    if (severity == Severity::kWARNING) ++warnings;
    const bool is_error = severity < Severity::kWARNING;
    if (is_error) last_error = message;
    std::cerr << (is_error ? "error: " : "warning: ") << message << "\n";
  }

  int warnings = 0;
  std::string last_error;
};

void CheckCuda(cudaError_t status, const char* what);

/// TensorRT reports failure by null and false; the reason is in the log.
void Require(bool condition, const std::string& what, const Logger& logger);

nvinfer1::Dims ToDims(const std::vector<int64_t>& shape);

/// Memory of the GPU that grows as needed.
class DeviceBuffer {
 public:
  DeviceBuffer() = default;
  DeviceBuffer(const DeviceBuffer&) = delete;
  DeviceBuffer& operator=(const DeviceBuffer&) = delete;
  ~DeviceBuffer() { cudaFree(data_); }

  void* Reserve(size_t bytes) {
    if (data_ != nullptr && bytes <= size_) return data_;
    cudaFree(data_);
    data_ = nullptr;
    size_ = std::max<size_t>(bytes, 1);  // TensorRT wants an address for empty tensors too.
    CheckCuda(cudaMalloc(&data_, size_), "cudaMalloc");
    return data_;
  }

 private:
  void* data_ = nullptr;
  size_t size_ = 0;
};

/// An engine and what it takes to run it. Members go in reverse order, so that each outlives those that use
/// it.
struct Session {
  Logger logger;
  std::unique_ptr<nvinfer1::IRuntime> runtime;
  std::unique_ptr<nvinfer1::ICudaEngine> engine;
  std::unique_ptr<nvinfer1::IExecutionContext> context;
  std::map<std::string, DeviceBuffer> buffers;
  std::set<std::string> batched_inputs;
  cudaStream_t stream = nullptr;

  ~Session() {
    if (stream != nullptr) cudaStreamDestroy(stream);
  }
};

/// The shape that an input has in the engine: the sample's, or a batch of them.
std::vector<int64_t> BatchedShape(const Session& session, const Array& input, int64_t batch);

/// Parses, pins and builds; `samples` give the shapes.
void Build(const Options& options, const std::vector<ArraySet>& samples, Session* session, Result* result);

/// Runs every sample and compares its outputs.
void CompareAll(const std::vector<ArraySet>& samples, const std::vector<ArraySet>& references,
                const Options& options, Session* session, Result* result);

/// Times the engine on one sample, without the copies to and from the GPU.
void Measure(const ArraySet& sample, const Options& options, Session* session, Result* result);

/// Writes what TensorRT's inspector says of the layers; does nothing where `path` is empty.
void WriteLayers(const std::string& path, const Session& session);

}  // namespace halfsafe::bench
