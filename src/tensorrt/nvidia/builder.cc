#include <fmt/format.h>

#include <chrono>
#include <fstream>
#include <map>

#include "base/file.h"
#include "halfsafe/error.h"
#include "tensorrt/nvidia/backend.h"
#include "tensorrt/nvidia/versions.h"

namespace halfsafe {
namespace {

using nvinfer1::DataType;

bool IsFloatType(DataType type) { return IsFloat(ToDType(type)); }

void Parse(const std::filesystem::path& model, const Logger& logger, nvonnxparser::IParser* parser) {
  // Without it 8.6 normalizes instances by a plugin that needs cuDNN.
  parser->setFlag(nvonnxparser::OnnxParserFlag::kNATIVE_INSTANCENORM);
  if (parser->parseFromFile(model.c_str(), static_cast<int>(nvinfer1::ILogger::Severity::kWARNING))) return;
  std::string message = "TensorRT can't parse the model";
  for (int i = 0; i < parser->getNbErrors(); ++i) {
    const nvonnxparser::IParserError& error = *parser->getError(i);
    message += fmt::format("\n  {}: {}", ErrorNode(error), error.desc());
  }
  throw BadInput(parser->getNbErrors() > 0 ? message : message + logger.Reason());
}

/// The ONNX node in a layer's metadata: "[ONNX Layer: NAME]", where a description may follow behind a bar.
std::string OnnxNode(const nvinfer1::ILayer& layer) {
  constexpr std::string_view kPrefix = "[ONNX Layer: ";
  std::string_view metadata = layer.getMetadata();
  if (!metadata.starts_with(kPrefix)) return "";
  metadata.remove_prefix(kPrefix.size());
  if (metadata.ends_with(']')) metadata.remove_suffix(1);
  return std::string(metadata.substr(0, metadata.find(" | ")));
}

NetworkLayer Describe(const nvinfer1::ILayer& layer) {
  NetworkLayer result{layer.getName(), OnnxNode(layer), {}, false, false};
  result.constant = layer.getType() == nvinfer1::LayerType::kCONSTANT;
  // These compute nothing in a precision of their own; a Cast has its type as an attribute.
  const bool typed = !result.constant && layer.getType() != nvinfer1::LayerType::kSHAPE &&
                     layer.getType() != nvinfer1::LayerType::kCAST;
  for (int32_t i = 0; i < layer.getNbOutputs(); ++i) {
    const nvinfer1::ITensor* output = layer.getOutput(i);
    if (output == nullptr) continue;
    result.outputs.emplace_back(output->getName());
    if (typed && IsFloatType(output->getType())) result.takes_precision = true;
  }
  return result;
}

/// The type of each constrained layer, by its position.
std::map<int32_t, DataType> Constrain(const EngineRequest& request, nvinfer1::INetworkDefinition* network) {
  std::map<int32_t, DataType> types;
  if (request.typing != Typing::kWeak || !request.constrain) return types;
  std::vector<NetworkLayer> layers;
  for (int32_t i = 0; i < network->getNbLayers(); ++i) layers.push_back(Describe(*network->getLayer(i)));
  for (const LayerConstraint& constraint : request.constrain(layers)) {
    const auto layer = static_cast<int32_t>(constraint.layer);
    // 7 is BF16, a name that older headers lack.
    types[layer] = constraint.precision == Precision::kBf16 ? static_cast<DataType>(7) : DataType::kFLOAT;
    ConstrainLayer(network->getLayer(layer), types[layer]);
  }
  return types;
}

/// Has every float tensor with an ONNX name shown as what TensorRT may store it as.
void ShowTensors(const EngineRequest& request, const std::map<int32_t, DataType>& types,
                 nvinfer1::INetworkDefinition* network) {
  for (int32_t i = 0; i < network->getNbLayers(); ++i) {
    const nvinfer1::ILayer& layer = *network->getLayer(i);
    if (layer.getType() == nvinfer1::LayerType::kCONSTANT) continue;
    const auto constrained = types.find(i);
    const DataType type = constrained != types.end() ? constrained->second
                          : request.fp16             ? DataType::kHALF
                                                     : DataType::kFLOAT;
    for (int32_t k = 0; k < layer.getNbOutputs(); ++k) {
      nvinfer1::ITensor* tensor = layer.getOutput(k);
      if (tensor == nullptr || tensor->isNetworkOutput() || !tensor->isExecutionTensor()) continue;
      if (IsFloatType(tensor->getType()) && !std::string_view(tensor->getName()).starts_with(kUnnamed))
        ShowTensor(network, tensor, type);
    }
  }
}

void SetIoTypes(const EngineRequest& request, nvinfer1::INetworkDefinition* network) {
  const auto set = [&](nvinfer1::ITensor* tensor) {
    for (const auto& [name, precision] : request.io) {
      if (name == tensor->getName() && precision == Precision::kFp16) SetIoType(tensor, DataType::kHALF);
    }
  };
  for (int32_t i = 0; i < network->getNbInputs(); ++i) set(network->getInput(i));
  for (int32_t i = 0; i < network->getNbOutputs(); ++i) set(network->getOutput(i));
}

void KeepIoWide(const EngineRequest& request, nvinfer1::INetworkDefinition* network,
                nvinfer1::IBuilderConfig* config) {
  const auto keep = [&](nvinfer1::ITensor* tensor) {
    if (std::find(request.wide_io.begin(), request.wide_io.end(), tensor->getName()) ==
            request.wide_io.end() ||
        tensor->getType() != DataType::kFLOAT)
      return;
    // The flag is only about tensors whose formats were set.
    tensor->setAllowedFormats(1U << static_cast<uint32_t>(nvinfer1::TensorFormat::kLINEAR));
    config->setFlag(nvinfer1::BuilderFlag::kDIRECT_IO);
  };
  for (int32_t i = 0; i < network->getNbInputs(); ++i) keep(network->getInput(i));
  for (int32_t i = 0; i < network->getNbOutputs(); ++i) keep(network->getOutput(i));
}

constexpr std::pair<nvinfer1::OptProfileSelector, std::vector<int64_t> ShapeRange::*> kShapeEnds[] = {
    {nvinfer1::OptProfileSelector::kMIN, &ShapeRange::min},
    {nvinfer1::OptProfileSelector::kOPT, &ShapeRange::opt},
    {nvinfer1::OptProfileSelector::kMAX, &ShapeRange::max}};
constexpr std::pair<nvinfer1::OptProfileSelector, std::vector<int64_t> ValueRange::*> kValueEnds[] = {
    {nvinfer1::OptProfileSelector::kMIN, &ValueRange::min},
    {nvinfer1::OptProfileSelector::kOPT, &ValueRange::opt},
    {nvinfer1::OptProfileSelector::kMAX, &ValueRange::max}};

void AddProfile(const EngineRequest& request, const ShapeProfile& shapes, const Logger& logger,
                nvinfer1::IBuilder* builder, nvinfer1::INetworkDefinition* network,
                nvinfer1::IBuilderConfig* config) {
  nvinfer1::IOptimizationProfile* profile = builder->createOptimizationProfile();
  for (const ShapeRange& range : shapes) {
    for (const auto& [selector, end] : kShapeEnds) {
      Require(profile->setDimensions(range.input.c_str(), selector, ToDims(range.*end)), logger,
              ExitCode::kBadInput, fmt::format("TensorRT refuses the shapes of input {}", range.input));
    }
  }
  for (int32_t i = 0; i < network->getNbInputs(); ++i) {
    const nvinfer1::ITensor& input = *network->getInput(i);
    if (!input.isShapeTensor()) continue;
    const auto range =
        std::find_if(request.values.begin(), request.values.end(),
                     [&](const ValueRange& values) { return values.input == input.getName(); });
    if (range == request.values.end()) {
      throw BadInput(
          fmt::format("the values of input {} decide shapes: give samples with --data, from which "
                      "their range is taken",
                      input.getName()));
    }
    for (const auto& [selector, end] : kValueEnds) {
      Require(SetShapeValues(profile, input.getName(), selector, (*range).*end), logger, ExitCode::kBadInput,
              fmt::format("TensorRT refuses the values of input {}", input.getName()));
    }
  }
  Require(profile->isValid() && config->addOptimizationProfile(profile) >= 0, logger, ExitCode::kBadInput,
          "TensorRT refuses the optimization profile");
}

bool NeedsProfile(const nvinfer1::INetworkDefinition& network) {
  for (int32_t i = 0; i < network.getNbInputs(); ++i) {
    const std::vector<int64_t> shape = ToShape(network.getInput(i)->getDimensions());
    if (network.getInput(i)->isShapeTensor() || std::find(shape.begin(), shape.end(), -1) != shape.end())
      return true;
  }
  return false;
}

void Configure(const EngineRequest& request, const BuildOptions& options, bool constrained,
               nvinfer1::IBuilderConfig* config) {
  using nvinfer1::BuilderFlag;
  if (options.workspace) config->setMemoryPoolLimit(nvinfer1::MemoryPoolType::kWORKSPACE, *options.workspace);
  if (options.level) config->setBuilderOptimizationLevel(*options.level);
  config->setProfilingVerbosity(nvinfer1::ProfilingVerbosity::kDETAILED);
  if (!options.tf32) config->clearFlag(BuilderFlag::kTF32);  // On by default.
  if (request.typing == Typing::kWeak) AllowTypes(request.fp16, request.bf16, config);
  if (constrained) BindConstraints(options.obey_constraints, config);
  if (options.version_compatible) config->setFlag(BuilderFlag::kVERSION_COMPATIBLE);
  if (options.hardware_compatible)
    config->setHardwareCompatibilityLevel(nvinfer1::HardwareCompatibilityLevel::kAMPERE_PLUS);
  if (options.own_kernels) {
    const auto bit = [](nvinfer1::TacticSource source) { return 1U << static_cast<uint32_t>(source); };
    config->setTacticSources(bit(nvinfer1::TacticSource::kEDGE_MASK_CONVOLUTIONS) |
                             bit(nvinfer1::TacticSource::kJIT_CONVOLUTIONS));
  }
}

/// Kernels that another build timed are not timed again, which also makes builds choose alike. A cache that
/// is missing or doesn't fit makes an empty one.
std::unique_ptr<nvinfer1::ITimingCache> LoadTimingCache(const std::filesystem::path& path,
                                                        nvinfer1::IBuilderConfig* config) {
  if (path.empty()) return nullptr;
  std::string blob;
  if (std::filesystem::exists(path)) blob = MappedFile(path, "timing cache").text();
  std::unique_ptr<nvinfer1::ITimingCache> cache(config->createTimingCache(blob.data(), blob.size()));
  if (cache == nullptr) cache.reset(config->createTimingCache(nullptr, 0));
  if (cache != nullptr) config->setTimingCache(*cache, false);
  return cache;
}

void SaveTimingCache(const std::filesystem::path& path, const nvinfer1::ITimingCache* cache) {
  if (cache == nullptr) return;
  const std::unique_ptr<nvinfer1::IHostMemory> blob(cache->serialize());
  if (blob != nullptr) WriteFileAtomically(path, {static_cast<const char*>(blob->data()), blob->size()});
}

}  // namespace

BuiltEngine BuildNetwork(const EngineRequest& request, const BuildOptions& options, Logger* logger) {
  std::unique_ptr<nvinfer1::IBuilder> builder(nvinfer1::createInferBuilder(*logger));
  Require(builder != nullptr, *logger, ExitCode::kUnavailable, "TensorRT makes no builder");
  std::unique_ptr<nvinfer1::INetworkDefinition> network(MakeNetwork(builder.get(), request.typing));
  Require(network != nullptr, *logger, ExitCode::kInternal, "TensorRT makes no network");
  std::unique_ptr<nvonnxparser::IParser> parser(nvonnxparser::createParser(*network, *logger));
  Require(parser != nullptr, *logger, ExitCode::kInternal, "TensorRT makes no parser");
  Parse(request.model, *logger, parser.get());
  BuiltEngine result;
  result.network_layers = static_cast<uint64_t>(network->getNbLayers());
  const std::map<int32_t, DataType> types = Constrain(request, network.get());
  if (request.show_tensors) ShowTensors(request, types, network.get());
  SetIoTypes(request, network.get());

  std::unique_ptr<nvinfer1::IBuilderConfig> config(builder->createBuilderConfig());
  Require(config != nullptr, *logger, ExitCode::kInternal, "TensorRT makes no builder configuration");
  Configure(request, options, !types.empty(), config.get());
  if (options.obey_constraints) KeepIoWide(request, network.get(), config.get());
  if (NeedsProfile(*network)) {
    for (const ShapeProfile& shapes : request.profiles)
      AddProfile(request, shapes, *logger, builder.get(), network.get(), config.get());
  }
  if (request.parse_only) return result;
  const auto cache = LoadTimingCache(options.timing_cache, config.get());
  const auto start = std::chrono::steady_clock::now();
  std::unique_ptr<nvinfer1::IHostMemory> engine(builder->buildSerializedNetwork(*network, *config));
  result.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  Require(engine != nullptr, *logger, ExitCode::kBadInput, "TensorRT can't build the engine");
  SaveTimingCache(options.timing_cache, cache.get());
  const auto* bytes = static_cast<const std::byte*>(engine->data());
  result.bytes.assign(bytes, bytes + engine->size());
  return result;
}

}  // namespace halfsafe
