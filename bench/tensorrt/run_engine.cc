#include <algorithm>
#include <chrono>
#include <cmath>
#include <fstream>
#include <functional>
#include <stdexcept>

#include "engine.h"

namespace halfsafe::bench {
namespace {

// A GPU that was idle takes a while to reach its clocks: as many runs as are usual are too short for small
// engines.
constexpr int kWarmUpRuns = 20;
constexpr std::chrono::milliseconds kWarmUpTime{300};

std::string DtypeName(nvinfer1::DataType type) {
  switch (type) {
    case nvinfer1::DataType::kFLOAT:
      return "float32";
    case nvinfer1::DataType::kHALF:
      return "float16";
    case nvinfer1::DataType::kINT32:
      return "int32";
    case nvinfer1::DataType::kINT8:
      return "int8";
    case nvinfer1::DataType::kUINT8:
      return "uint8";
    case nvinfer1::DataType::kBOOL:
      return "bool";
    default:
      return "unknown";
  }
}

size_t Elements(const nvinfer1::Dims& dims, const std::string& name) {
  size_t count = 1;
  for (int32_t i = 0; i < dims.nbDims; ++i) {
    if (dims.d[i] < 0)
      throw std::runtime_error("the shape of output " + name + " depends on data: not supported");
    count *= static_cast<size_t>(dims.d[i]);
  }
  return count;
}

void SetInput(const Array& input, const Options& options, Session* session) {
  const char* name = input.name.c_str();
  const std::string dtype = DtypeName(session->engine->getTensorDataType(name));
  const std::vector<uint8_t> one = Encode(input.values, dtype);
  const int64_t copies = session->batched_inputs.contains(input.name) ? options.batch : 1;
  auto* data =
      static_cast<uint8_t*>(session->buffers[input.name].Reserve(one.size() * static_cast<size_t>(copies)));
  for (int64_t i = 0; i < copies; ++i)
    CheckCuda(cudaMemcpy(data + static_cast<size_t>(i) * one.size(), one.data(), one.size(),
                         cudaMemcpyHostToDevice),
              "copying an input");
  const bool set =
      session->context->setInputShape(name, ToDims(BatchedShape(*session, input, options.batch))) &&
      session->context->setTensorAddress(name, data);
  Require(set, "the engine refuses input " + input.name, session->logger);
}

/// Runs one sample and leaves the context ready to run it again.
std::map<std::string, std::vector<double>> RunSample(const ArraySet& sample, const Options& options,
                                                     Session* session) {
  const nvinfer1::ICudaEngine& engine = *session->engine;
  std::vector<std::string> outputs;
  for (int32_t i = 0; i < engine.getNbIOTensors(); ++i) {
    const char* name = engine.getIOTensorName(i);
    if (engine.getTensorIOMode(name) == nvinfer1::TensorIOMode::kOUTPUT) {
      outputs.emplace_back(name);
      continue;
    }
    const Array* input = sample.Find(name);
    if (input == nullptr) throw std::runtime_error("sample " + sample.sample + " has no input " + name);
    SetInput(*input, options, session);
  }
  std::map<std::string, size_t> sizes;
  for (const std::string& name : outputs) {
    sizes[name] = Elements(session->context->getTensorShape(name.c_str()), name) *
                  ElementSize(DtypeName(engine.getTensorDataType(name.c_str())));
    Require(session->context->setTensorAddress(name.c_str(), session->buffers[name].Reserve(sizes[name])),
            "the engine refuses the address of output " + name, session->logger);
  }
  Require(session->context->enqueueV3(session->stream), "the run failed", session->logger);
  CheckCuda(cudaStreamSynchronize(session->stream), "running the engine");

  std::map<std::string, std::vector<double>> values;
  for (const std::string& name : outputs) {
    std::vector<uint8_t> bytes(sizes[name]);
    CheckCuda(cudaMemcpy(bytes.data(), session->buffers[name].Reserve(bytes.size()), bytes.size(),
                         cudaMemcpyDeviceToHost),
              "copying an output");
    values[name] = Decode(bytes, DtypeName(engine.getTensorDataType(name.c_str())));
  }
  return values;
}

/// Times of single runs in milliseconds, sorted.
std::vector<double> Time(int runs, cudaStream_t stream, const std::function<void()>& run) {
  cudaEvent_t start, stop;
  CheckCuda(cudaEventCreate(&start), "cudaEventCreate");
  CheckCuda(cudaEventCreate(&stop), "cudaEventCreate");
  const auto warm = std::chrono::steady_clock::now() + kWarmUpTime;
  do {
    for (int i = 0; i < kWarmUpRuns; ++i) run();
    CheckCuda(cudaStreamSynchronize(stream), "warming up");
  } while (std::chrono::steady_clock::now() < warm);
  std::vector<double> times;
  for (int i = 0; i < runs; ++i) {
    float milliseconds = 0;
    CheckCuda(cudaEventRecord(start, stream), "cudaEventRecord");
    run();
    CheckCuda(cudaEventRecord(stop, stream), "cudaEventRecord");
    CheckCuda(cudaEventSynchronize(stop), "timed run");
    CheckCuda(cudaEventElapsedTime(&milliseconds, start, stop), "cudaEventElapsedTime");
    times.push_back(static_cast<double>(milliseconds));
  }
  cudaEventDestroy(start);
  cudaEventDestroy(stop);
  std::sort(times.begin(), times.end());
  return times;
}

/// The smallest time that `share` of the runs did not pass.
double Quantile(const std::vector<double>& sorted, double share) {
  const auto rank = static_cast<size_t>(std::ceil(share * static_cast<double>(sorted.size())));
  return sorted[std::max<size_t>(rank, 1) - 1];
}

/// Small engines are bound by launching kernels one by one from the CPU; a graph shows what the GPU itself
/// takes. Not every engine can be captured: then the result stays empty.
std::optional<double> TimeGraph(int runs, Session* session) {
  cudaGraph_t graph = nullptr;
  cudaGraphExec_t executable = nullptr;
  if (cudaStreamBeginCapture(session->stream, cudaStreamCaptureModeThreadLocal) != cudaSuccess) return {};
  const bool enqueued = session->context->enqueueV3(session->stream);
  const bool captured = cudaStreamEndCapture(session->stream, &graph) == cudaSuccess && graph != nullptr;
  std::optional<double> median;
  if (enqueued && captured && cudaGraphInstantiate(&executable, graph, 0) == cudaSuccess) {
    const auto launch = [&] { CheckCuda(cudaGraphLaunch(executable, session->stream), "cudaGraphLaunch"); };
    median = Quantile(Time(runs, session->stream, launch), 0.5);
    cudaGraphExecDestroy(executable);
  }
  if (graph != nullptr) cudaGraphDestroy(graph);
  cudaGetLastError();  // A failed capture must not show up as the error of a later call.
  return median;
}

}  // namespace

void CompareAll(const std::vector<ArraySet>& samples, const std::vector<ArraySet>& references,
                const Options& options, Session* session, Result* result) {
  for (const ArraySet& sample : samples) {
    const auto reference = std::find_if(references.begin(), references.end(),
                                        [&](const ArraySet& set) { return set.sample == sample.sample; });
    if (reference == references.end()) throw std::runtime_error("no reference for sample " + sample.sample);
    const auto outputs = RunSample(sample, options, session);
    for (const Array& expected : reference->arrays) {
      const auto found = outputs.find(expected.name);
      if (found == outputs.end()) throw std::runtime_error("the engine has no output " + expected.name);
      const nvinfer1::Dims shape = session->context->getTensorShape(expected.name.c_str());
      // A batch is compared with the sample's output repeated, which is right only along the first axis.
      if (found->second.size() != expected.values.size() &&
          (shape.nbDims == 0 || expected.shape.empty() || shape.d[0] != expected.shape[0] * options.batch))
        throw std::runtime_error("output " + expected.name + " has its batch elsewhere: use --batch 1");
      result->difference.Add(expected, found->second);
    }
    ++result->samples;
  }
}

void Measure(const ArraySet& sample, const Options& options, Session* session, Result* result) {
  RunSample(sample, options, session);
  const auto run = [&] {
    Require(session->context->enqueueV3(session->stream), "a timed run failed", session->logger);
  };
  const std::vector<double> times = Time(options.runs, session->stream, run);
  result->median_ms = Quantile(times, 0.5);
  result->p99_ms = Quantile(times, 0.99);
  result->graph_median_ms = TimeGraph(options.runs, session);
}

void WriteLayers(const std::string& path, const Session& session) {
  if (path.empty()) return;
  std::unique_ptr<nvinfer1::IEngineInspector> inspector(session.engine->createEngineInspector());
  if (inspector == nullptr) return;
  inspector->setExecutionContext(
      session.context.get());  // Without one it leaves out all that depends on shapes.
  std::ofstream(path) << inspector->getEngineInformation(nvinfer1::LayerInformationFormat::kJSON) << "\n";
}

}  // namespace halfsafe::bench
