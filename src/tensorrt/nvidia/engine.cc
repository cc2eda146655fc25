#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstring>
#include <functional>
#include <map>

#include "data/array.h"
#include "data/convert.h"
#include "halfsafe/error.h"
#include "tensorrt/nvidia/backend.h"
#include "tensorrt/nvidia/cuda.h"
#include "tensorrt/nvidia/versions.h"

namespace halfsafe {
namespace {

using nvinfer1::OptProfileSelector;

// A GPU that was idle takes a while to reach its clocks: the usual number of runs is too few for small
// engines.
constexpr std::chrono::milliseconds kWarmUpTime{300};
constexpr int kProfiledRuns = 20;

/// Memory for one input or output, on the side where the engine wants it.
struct PortMemory {
  bool on_host = false;
  DeviceBuffer device;
  std::vector<std::byte> host;

  void* Reserve(size_t bytes) {
    if (!on_host) return device.Reserve(bytes);
    // Whole words: shapes are read as such.
    if (host.size() < bytes + sizeof(int64_t)) host.resize(bytes + sizeof(int64_t));
    return host.data();
  }
  void Read(void* to, const void* from, size_t bytes) const {
    if (bytes == 0) return;
    if (on_host) {
      std::memcpy(to, from, bytes);
    } else {
      CheckCuda(cudaMemcpy(to, from, bytes, cudaMemcpyDeviceToHost), "copying an output");
    }
  }
};

/// Memory for an output whose shape only the run knows.
class Allocator : public nvinfer1::IOutputAllocator {
 public:
  void* reallocateOutput(const char*, void*, uint64_t size, uint64_t) noexcept override {
    try {
      return memory.Reserve(size);
    } catch (const std::exception&) {
      return nullptr;  // The run then fails and says so.
    }
  }
  void notifyShape(const char*, const nvinfer1::Dims& dims) noexcept override { shape = dims; }

  PortMemory memory;
  nvinfer1::Dims shape{};
};

/// Sums what one run spends in each layer.
class LayerProfiler : public nvinfer1::IProfiler {
 public:
  void reportLayerTime(const char* layer, float ms) noexcept override {
    try {
      if (!run_.contains(layer)) order_.emplace_back(layer);
      run_[layer] += static_cast<double>(ms) * 1e3;
    } catch (const std::exception&) {
      // A time that there is no memory for is left out.
    }
  }
  void EndRun() {
    for (const auto& [layer, us] : run_) times_[layer].push_back(us);
    run_.clear();
  }
  std::vector<LayerTime> Medians() {
    std::vector<LayerTime> medians;
    std::map<std::string, bool> listed;
    for (const std::string& layer : order_) {
      std::vector<double>& times = times_[layer];
      if (std::exchange(listed[layer], true) || times.empty()) continue;
      std::sort(times.begin(), times.end());
      medians.push_back({layer, times[times.size() / 2]});
    }
    return medians;
  }

 private:
  std::vector<std::string> order_;
  std::map<std::string, double> run_;
  std::map<std::string, std::vector<double>> times_;
};

/// Takes what an engine's debug tensors show over to the host.
class ShownTensors : public TensorListener {
 public:
  void Show(const char* name, const void* data, bool on_host, nvinfer1::DataType type,
            const nvinfer1::Dims& dims) override {
    const DType dtype = ToDType(type);
    if (!IsFloat(dtype)) return;
    Array array{dtype, ToShape(dims), {}};
    array.bytes.resize(ArrayBytes(dtype, array.shape, name));
    PortMemory side;
    side.on_host = on_host;
    side.Read(array.bytes.data(), data, array.bytes.size());
    tensors.push_back({name, std::move(array)});
  }

  std::vector<NamedArray> tensors;
};

class NvidiaEngine : public LoadedEngine {
 public:
  NvidiaEngine(nvinfer1::IRuntime* runtime, std::span<const std::byte> bytes, std::string_view where,
               Logger* logger)
      : where_(where), logger_(*logger), engine_bytes_(bytes.size()) {
    logger->ForgetErrors();
    engine_.reset(runtime->deserializeCudaEngine(bytes.data(), bytes.size()));
    Require(engine_ != nullptr, logger_, ExitCode::kBadInput,
            fmt::format("{} is no engine that TensorRT {} can load on this GPU", where,
                        VersionText(getInferLibVersion())));
    context_.reset(engine_->createExecutionContext());
    Require(context_ != nullptr, logger_, ExitCode::kInternal, fmt::format("{} can't be run", where));
    listener_ = Listen(context_.get(), &shown_);
    for (int32_t i = 0; i < engine_->getNbIOTensors(); ++i) AddPort(engine_->getIOTensorName(i));
  }

  const std::vector<EnginePort>& ports() const override { return ports_; }
  uint64_t device_bytes() const override { return engine_bytes_ + ScratchBytes(*engine_); }

  std::string Inspect() override {
    // Types are "N/A" until a run has settled free shapes. Where values decide these, they can't be made up.
    const auto any_input = [&](const auto& is) {
      return std::any_of(ports_.begin(), ports_.end(),
                         [&](const EnginePort& port) { return port.input && is(port); });
    };
    const bool values = any_input([&](const EnginePort& port) { return memory_[port.name].memory.on_host; });
    if (!has_run_ && any_input(IsFree) && !values) Run(ZeroSample());
    std::unique_ptr<nvinfer1::IEngineInspector> inspector(engine_->createEngineInspector());
    Require(inspector != nullptr, logger_, ExitCode::kInternal, "TensorRT makes no inspector");
    inspector->setExecutionContext(context_.get());
    return inspector->getEngineInformation(nvinfer1::LayerInformationFormat::kJSON);
  }

  std::vector<NamedArray> Run(const Sample& sample) override {
    SetInputs(sample);
    SetOutputs();
    shown_.tensors.clear();
    Enqueue();
    stream_.Wait();
    has_run_ = true;
    std::vector<NamedArray> outputs = ReadOutputs();
    std::move(shown_.tensors.begin(), shown_.tensors.end(), std::back_inserter(outputs));
    return outputs;
  }

  EngineTimes Time(const Sample& sample, const BenchOptions& options) override {
    Run(sample);
    EngineTimes times;
    times.runs_ms = Repeat(options, [&] { Enqueue(); });
    if (options.cuda_graph) times.graph_ms = TimeGraph(options);
    LayerProfiler profiler;
    context_->setProfiler(&profiler);
    for (int i = 0; i < kProfiledRuns; ++i) {
      Enqueue();
      stream_.Wait();
      profiler.EndRun();
    }
    context_->setProfiler(nullptr);
    times.layers = profiler.Medians();
    return times;
  }

 private:
  static bool IsFree(const EnginePort& port) {
    return std::find(port.shape.begin(), port.shape.end(), -1) != port.shape.end();
  }

  /// Zeros in the shapes that the first profile is tuned for.
  Sample ZeroSample() const {
    Sample sample{"zeros", {}};
    for (const EnginePort& port : ports_) {
      if (!port.input) continue;
      const char* name = port.name.c_str();
      Array array{port.dtype, port.shape, {}};
      if (IsFree(port)) array.shape = ToShape(engine_->getProfileShape(name, 0, OptProfileSelector::kOPT));
      array.bytes.resize(ArrayBytes(port.dtype, array.shape, name));
      sample.inputs.push_back({port.name, std::move(array)});
    }
    return sample;
  }

  void AddPort(const char* name) {
    EnginePort port;
    port.name = name;
    port.input = engine_->getTensorIOMode(name) == nvinfer1::TensorIOMode::kINPUT;
    port.dtype = ToDType(engine_->getTensorDataType(name));
    port.shape = ToShape(engine_->getTensorShape(name));
    memory_[name].memory.on_host = engine_->getTensorLocation(name) == nvinfer1::TensorLocation::kHOST;
    ports_.push_back(std::move(port));
  }

  /// The first profile that takes the sample's shapes.
  int32_t ProfileFor(const Sample& sample) const {
    for (int32_t profile = 0; profile < engine_->getNbOptimizationProfiles(); ++profile) {
      const bool fits = std::all_of(ports_.begin(), ports_.end(), [&](const EnginePort& port) {
        if (!port.input || !IsFree(port)) return true;
        const std::vector<int64_t>& shape = Find(sample, port.name).shape;
        const auto min =
            ToShape(engine_->getProfileShape(port.name.c_str(), profile, OptProfileSelector::kMIN));
        const auto max =
            ToShape(engine_->getProfileShape(port.name.c_str(), profile, OptProfileSelector::kMAX));
        bool inside = shape.size() == min.size() && min.size() == max.size();
        for (size_t i = 0; inside && i < shape.size(); ++i) inside = min[i] <= shape[i] && shape[i] <= max[i];
        return inside;
      });
      if (fits) return profile;
    }
    std::string shapes;
    for (const EnginePort& port : ports_) {
      if (port.input && IsFree(port))
        shapes += fmt::format(" {} {}", port.name, ShapeText(Find(sample, port.name).shape));
    }
    throw BadInput(
        fmt::format("no optimization profile of {} takes sample {}:{}", where_, sample.name, shapes));
  }

  const Array& Find(const Sample& sample, const std::string& name) const {
    for (const NamedArray& input : sample.inputs) {
      if (input.name == name) return input.array;
    }
    throw BadInput(fmt::format("{} has input {}, which sample {} lacks", where_, name, sample.name));
  }

  void SetInputs(const Sample& sample) {
    const int32_t profile = ProfileFor(sample);
    if (profile != context_->getOptimizationProfile()) {
      Require(context_->setOptimizationProfileAsync(profile, stream_.get()), logger_, ExitCode::kInternal,
              "TensorRT refuses to change the optimization profile");
      stream_.Wait();
    }
    for (const EnginePort& port : ports_) {
      if (!port.input) continue;
      const std::string where = fmt::format("input {} of sample {}", port.name, sample.name);
      const Array array = ConvertArray(Find(sample, port.name), port.dtype, where);
      PortMemory& memory = memory_[port.name].memory;
      void* data = memory.Reserve(array.bytes.size());
      if (memory.on_host) {
        std::memcpy(data, array.bytes.data(), array.bytes.size());
      } else {
        CheckCuda(cudaMemcpy(data, array.bytes.data(), array.bytes.size(), cudaMemcpyHostToDevice),
                  "copying an input");
      }
      const bool set = context_->setInputShape(port.name.c_str(), ToDims(array.shape)) &&
                       context_->setTensorAddress(port.name.c_str(), data);
      Require(set, logger_, ExitCode::kBadInput,
              fmt::format("{} refuses {} of shape {}", where_, where, ShapeText(array.shape)));
    }
  }

  void SetOutputs() {
    for (const EnginePort& port : ports_) {
      if (port.input) continue;
      Allocator& allocator = memory_[port.name];
      allocator.shape = context_->getTensorShape(port.name.c_str());
      const std::vector<int64_t> shape = ToShape(allocator.shape);
      bool set = true;
      if (std::find(shape.begin(), shape.end(), -1) != shape.end()) {
        set = context_->setOutputAllocator(port.name.c_str(), &allocator);
      } else {
        void* data = allocator.memory.Reserve(ArrayBytes(port.dtype, shape, port.name));
        set = context_->setTensorAddress(port.name.c_str(), data);
      }
      Require(set, logger_, ExitCode::kInternal, fmt::format("{} refuses memory for {}", where_, port.name));
    }
  }

  std::vector<NamedArray> ReadOutputs() {
    std::vector<NamedArray> outputs;
    for (const EnginePort& port : ports_) {
      if (port.input) continue;
      Allocator& allocator = memory_[port.name];
      Array array{port.dtype, ToShape(allocator.shape), {}};
      array.bytes.resize(ArrayBytes(port.dtype, array.shape, port.name));
      PortMemory& memory = allocator.memory;
      memory.Read(array.bytes.data(), memory.on_host ? memory.host.data() : memory.device.data(),
                  array.bytes.size());
      outputs.push_back({port.name, std::move(array)});
    }
    return outputs;
  }

  void Enqueue() {
    Require(context_->enqueueV3(stream_.get()), logger_, ExitCode::kInternal,
            fmt::format("{}: the run failed", where_));
  }

  /// Times of single runs in milliseconds, sorted.
  std::vector<double> Repeat(const BenchOptions& options, const std::function<void()>& run) {
    const auto warm = std::chrono::steady_clock::now() + kWarmUpTime;
    do {
      for (int i = 0; i < options.warm_up; ++i) run();
      stream_.Wait();
    } while (std::chrono::steady_clock::now() < warm);
    std::vector<double> times;
    const Event start, stop;
    for (int i = 0; i < options.runs; ++i) {
      ThrowIfInterrupted();
      float milliseconds = 0;
      CheckCuda(cudaEventRecord(start.get(), stream_.get()), "cudaEventRecord");
      run();
      CheckCuda(cudaEventRecord(stop.get(), stream_.get()), "cudaEventRecord");
      CheckCuda(cudaEventSynchronize(stop.get()), "a timed run");
      CheckCuda(cudaEventElapsedTime(&milliseconds, start.get(), stop.get()), "cudaEventElapsedTime");
      times.push_back(static_cast<double>(milliseconds));
    }
    std::sort(times.begin(), times.end());
    return times;
  }

  /// Small engines are bound by the CPU's launches of kernels one by one; a graph shows what the GPU itself
  /// takes. Not every engine can be captured: then nothing.
  std::vector<double> TimeGraph(const BenchOptions& options) {
    cudaGraph_t graph = nullptr;
    cudaGraphExec_t executable = nullptr;
    std::vector<double> times;
    if (cudaStreamBeginCapture(stream_.get(), cudaStreamCaptureModeThreadLocal) != cudaSuccess) return times;
    const bool enqueued = context_->enqueueV3(stream_.get());
    const bool captured = cudaStreamEndCapture(stream_.get(), &graph) == cudaSuccess && graph != nullptr;
    if (enqueued && captured && cudaGraphInstantiate(&executable, graph, 0) == cudaSuccess) {
      times =
          Repeat(options, [&] { CheckCuda(cudaGraphLaunch(executable, stream_.get()), "cudaGraphLaunch"); });
      cudaGraphExecDestroy(executable);
    }
    if (graph != nullptr) cudaGraphDestroy(graph);
    cudaGetLastError();  // A failed capture must not show up as the error of a later call.
    return times;
  }

  std::string where_;
  const Logger& logger_;
  uint64_t engine_bytes_;
  bool has_run_ = false;
  Stream stream_;
  ShownTensors shown_;
  std::unique_ptr<nvinfer1::ICudaEngine> engine_;
  std::unique_ptr<ListenerAdapter> listener_;
  std::map<std::string, Allocator> memory_;
  std::vector<EnginePort> ports_;
  std::unique_ptr<nvinfer1::IExecutionContext> context_;
};

}  // namespace

std::unique_ptr<LoadedEngine> LoadEngine(nvinfer1::IRuntime* runtime, std::span<const std::byte> engine,
                                         std::string_view where, Logger* logger) {
  return std::make_unique<NvidiaEngine>(runtime, engine, where, logger);
}

}  // namespace halfsafe
