#include <NvOnnxParser.h>

#include <algorithm>
#include <chrono>
#include <fstream>
#include <iterator>
#include <sstream>
#include <stdexcept>

#include "engine.h"

namespace halfsafe::bench {
namespace {

/// What to keep in FP32: every name that a layer may go by, and the first of its line.
using Pins = std::map<std::string, std::string>;

/// Reads a file with one node or tensor a line; further names for the same may follow, with tabs between
/// them.
Pins ReadPins(const std::string& path) {
  Pins pins;
  if (path.empty()) return pins;
  std::ifstream file(path);
  if (!file) throw std::runtime_error("cannot read " + path);
  for (std::string line; std::getline(file, line);) {
    const std::string first = line.substr(0, line.find('\t'));
    std::istringstream names(line);
    for (std::string name; std::getline(names, name, '\t');)
      if (!name.empty()) pins.emplace(name, first);
  }
  return pins;
}

/// The names a pin may use for a layer: its own, the ONNX node in its metadata, and the tensors that it
/// writes.
std::vector<std::string> NamesOf(const nvinfer1::ILayer& layer) {
  std::vector<std::string> names{layer.getName()};
  const std::string metadata = layer.getMetadata();
  const std::string prefix = "[ONNX Layer: ";
  if (metadata.starts_with(prefix)) {
    // A node's doc string may follow, behind a bar.
    const std::string rest = metadata.substr(prefix.size(), metadata.size() - prefix.size() - 1);
    names.push_back(rest.substr(0, rest.find(" | ")));
  }
  for (int32_t i = 0; i < layer.getNbOutputs(); ++i)
    if (layer.getOutput(i) != nullptr) names.emplace_back(layer.getOutput(i)->getName());
  return names;
}

bool IsFloat(const nvinfer1::ITensor& tensor) {
  return tensor.getType() == nvinfer1::DataType::kFLOAT || tensor.getType() == nvinfer1::DataType::kHALF;
}

/// Returns whether there was anything to pin: layers of integers stay as they are.
bool PinLayer(nvinfer1::ILayer* layer) {
  // These compute nothing in a precision of their own; a Cast has its type as an attribute.
  if (layer->getType() == nvinfer1::LayerType::kSHAPE || layer->getType() == nvinfer1::LayerType::kCAST)
    return false;
  bool writes_float = false;
  for (int32_t i = 0; i < layer->getNbOutputs(); ++i) {
    const nvinfer1::ITensor* output = layer->getOutput(i);
    if (output == nullptr || !IsFloat(*output)) continue;
    writes_float = true;
    if (output->isExecutionTensor()) layer->setOutputType(i, nvinfer1::DataType::kFLOAT);
  }
  if (writes_float) layer->setPrecision(nvinfer1::DataType::kFLOAT);
  return writes_float;
}

/// The parser makes several layers of some nodes, and gives an ONNX name to the output of the last one only.
bool HasNamedOutput(const nvinfer1::ILayer& layer) {
  for (int32_t i = 0; i < layer.getNbOutputs(); ++i) {
    const nvinfer1::ITensor* output = layer.getOutput(i);
    if (output != nullptr && !std::string(output->getName()).starts_with("(Unnamed Layer")) return true;
  }
  return false;
}

/// Pins what `pins` names. Layers come in the order of nodes, so one without an ONNX name goes with the next
/// that has one.
void Pin(nvinfer1::INetworkDefinition* network, const Pins& pins, Result* result) {
  std::set<std::string> unmatched;
  for (const auto& [name, first] : pins) unmatched.insert(first);
  bool next_pinned = false;
  for (int32_t i = network->getNbLayers() - 1; i >= 0; --i) {
    nvinfer1::ILayer* layer = network->getLayer(i);
    if (layer->getType() == nvinfer1::LayerType::kCONSTANT) continue;
    bool pinned = next_pinned && !HasNamedOutput(*layer);
    for (const std::string& name : NamesOf(*layer)) {
      const auto pin = pins.find(name);
      if (pin == pins.end()) continue;
      unmatched.erase(pin->second);
      pinned = true;
    }
    next_pinned = pinned;
    if (pinned && PinLayer(layer)) ++result->pinned_layers;
  }
  result->unmatched_pins.assign(unmatched.begin(), unmatched.end());
}

/// One profile that holds the shapes of all samples; min = opt = max where they agree.
void AddProfile(nvinfer1::IBuilder* builder, const nvinfer1::INetworkDefinition& network,
                const Options& options, const std::vector<ArraySet>& samples,
                nvinfer1::IBuilderConfig* config, Session* session) {
  nvinfer1::IOptimizationProfile* profile = builder->createOptimizationProfile();
  bool dynamic = false;
  for (int32_t i = 0; i < network.getNbInputs(); ++i) {
    const nvinfer1::ITensor* input = network.getInput(i);
    const std::string name = input->getName();
    if (input->isShapeTensor()) throw std::runtime_error("input " + name + " decides shapes: not supported");
    const nvinfer1::Dims dims = input->getDimensions();
    if (options.batch > 1 && dims.nbDims > 0 && dims.d[0] == -1) session->batched_inputs.insert(name);
    std::optional<nvinfer1::Dims> least, first, most;
    for (const ArraySet& sample : samples) {
      const Array* array = sample.Find(name);
      if (array == nullptr) throw std::runtime_error("sample " + sample.sample + " has no input " + name);
      const nvinfer1::Dims shape = ToDims(BatchedShape(*session, *array, options.batch));
      if (shape.nbDims != dims.nbDims) throw std::runtime_error("input " + name + " has another rank");
      if (!first) least = first = most = shape;
      for (int32_t k = 0; k < shape.nbDims; ++k) {
        least->d[k] = std::min(least->d[k], shape.d[k]);
        most->d[k] = std::max(most->d[k], shape.d[k]);
      }
    }
    if (std::find(dims.d, dims.d + dims.nbDims, -1) == dims.d + dims.nbDims) continue;
    dynamic = true;
    const bool set = profile->setDimensions(name.c_str(), nvinfer1::OptProfileSelector::kMIN, *least) &&
                     profile->setDimensions(name.c_str(), nvinfer1::OptProfileSelector::kOPT, *first) &&
                     profile->setDimensions(name.c_str(), nvinfer1::OptProfileSelector::kMAX, *most);
    Require(set, "the profile refuses the shape of input " + name, session->logger);
  }
  if (dynamic)
    Require(config->addOptimizationProfile(profile) >= 0, "bad optimization profile", session->logger);
}

void Configure(const Options& options, bool has_pins, nvinfer1::IBuilderConfig* config) {
  config->setMemoryPoolLimit(nvinfer1::MemoryPoolType::kWORKSPACE, options.workspace);
  config->setBuilderOptimizationLevel(options.level);
  config->setProfilingVerbosity(nvinfer1::ProfilingVerbosity::kDETAILED);
  config->clearFlag(nvinfer1::BuilderFlag::kTF32);  // FP32 has to be FP32.
  if (options.fp16) config->setFlag(nvinfer1::BuilderFlag::kFP16);
  if (has_pins) config->setFlag(nvinfer1::BuilderFlag::kOBEY_PRECISION_CONSTRAINTS);
  if (!options.all_tactics) {
    const auto bit = [](nvinfer1::TacticSource source) { return 1U << static_cast<uint32_t>(source); };
    config->setTacticSources(bit(nvinfer1::TacticSource::kEDGE_MASK_CONVOLUTIONS) |
                             bit(nvinfer1::TacticSource::kJIT_CONVOLUTIONS));
  }
}

/// Kernels that another build timed are not timed again, which also makes builds choose alike. A cache that
/// is missing or does not fit makes an empty one.
std::unique_ptr<nvinfer1::ITimingCache> LoadTimingCache(const std::string& path,
                                                        nvinfer1::IBuilderConfig* config) {
  if (path.empty()) return nullptr;
  std::ifstream file(path, std::ios::binary);
  const std::vector<char> blob{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  std::unique_ptr<nvinfer1::ITimingCache> cache(config->createTimingCache(blob.data(), blob.size()));
  if (cache == nullptr) cache.reset(config->createTimingCache(nullptr, 0));
  if (cache != nullptr) config->setTimingCache(*cache, false);
  return cache;
}

void SaveTimingCache(const std::string& path, const nvinfer1::ITimingCache* cache) {
  if (cache == nullptr) return;
  const std::unique_ptr<nvinfer1::IHostMemory> blob(cache->serialize());
  if (blob != nullptr)
    std::ofstream(path, std::ios::binary)
        .write(static_cast<const char*>(blob->data()), static_cast<std::streamsize>(blob->size()));
}

void Parse(const Options& options, nvinfer1::INetworkDefinition* network, nvonnxparser::IParser* parser) {
  // The plugin that would do this otherwise needs cuDNN.
  parser->setFlag(nvonnxparser::OnnxParserFlag::kNATIVE_INSTANCENORM);
  if (parser->parseFromFile(options.model.c_str(), static_cast<int>(nvinfer1::ILogger::Severity::kWARNING)))
    return;
  std::string message = "cannot parse " + options.model;
  for (int i = 0; i < parser->getNbErrors(); ++i) {
    const nvonnxparser::IParserError* error = parser->getError(i);
    message += "; node " + std::to_string(error->node()) + ": " + error->desc();
  }
  throw std::runtime_error(message + (network->getNbInputs() == 0 ? " (no inputs)" : ""));
}

}  // namespace

void CheckCuda(cudaError_t status, const char* what) {
  if (status != cudaSuccess) throw std::runtime_error(std::string(what) + ": " + cudaGetErrorString(status));
}

void Require(bool condition, const std::string& what, const Logger& logger) {
  if (!condition)
    throw std::runtime_error(logger.last_error.empty() ? what : what + ": " + logger.last_error);
}

nvinfer1::Dims ToDims(const std::vector<int64_t>& shape) {
  nvinfer1::Dims dims{};
  if (shape.size() > nvinfer1::Dims::MAX_DIMS) throw std::runtime_error("an input has too many dimensions");
  dims.nbDims = static_cast<int32_t>(shape.size());
  for (size_t i = 0; i < shape.size(); ++i) dims.d[i] = static_cast<int32_t>(shape[i]);
  return dims;
}

std::vector<int64_t> BatchedShape(const Session& session, const Array& input, int64_t batch) {
  std::vector<int64_t> shape = input.shape;
  if (session.batched_inputs.contains(input.name)) shape[0] *= batch;
  return shape;
}

void Build(const Options& options, const std::vector<ArraySet>& samples, Session* session, Result* result) {
  Logger& logger = session->logger;
  std::unique_ptr<nvinfer1::IBuilder> builder(nvinfer1::createInferBuilder(logger));
  Require(builder != nullptr, "TensorRT makes no builder", logger);
  const uint32_t explicit_batch =
      1U << static_cast<uint32_t>(nvinfer1::NetworkDefinitionCreationFlag::kEXPLICIT_BATCH);
  std::unique_ptr<nvinfer1::INetworkDefinition> network(builder->createNetworkV2(explicit_batch));
  Require(network != nullptr, "TensorRT makes no network", logger);
  std::unique_ptr<nvonnxparser::IParser> parser(nvonnxparser::createParser(*network, logger));
  Require(parser != nullptr, "TensorRT makes no parser", logger);
  Parse(options, network.get(), parser.get());
  result->layers = network->getNbLayers();

  std::unique_ptr<nvinfer1::IBuilderConfig> config(builder->createBuilderConfig());
  Require(config != nullptr, "TensorRT makes no builder configuration", logger);
  const Pins pins = ReadPins(options.pins);
  Configure(options, !pins.empty(), config.get());
  Pin(network.get(), pins, result);
  AddProfile(builder.get(), *network, options, samples, config.get(), session);
  result->batched = !session->batched_inputs.empty();

  const auto timing_cache = LoadTimingCache(options.timing_cache, config.get());

  const int warnings_before = logger.warnings;
  const auto start = std::chrono::steady_clock::now();
  std::unique_ptr<nvinfer1::IHostMemory> plan(builder->buildSerializedNetwork(*network, *config));
  result->build_seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  result->builder_warnings = logger.warnings - warnings_before;
  Require(plan != nullptr, "the build failed", logger);
  SaveTimingCache(options.timing_cache, timing_cache.get());
  result->engine_bytes = static_cast<double>(plan->size());

  session->runtime.reset(nvinfer1::createInferRuntime(logger));
  Require(session->runtime != nullptr, "TensorRT makes no runtime", logger);
  session->engine.reset(session->runtime->deserializeCudaEngine(plan->data(), plan->size()));
  Require(session->engine != nullptr, "the engine does not load", logger);
  session->context.reset(session->engine->createExecutionContext());
  Require(session->context != nullptr, "the engine gives no context", logger);
  result->engine_layers = session->engine->getNbLayers();
  CheckCuda(cudaStreamCreate(&session->stream), "cudaStreamCreate");
}

}  // namespace halfsafe::bench
