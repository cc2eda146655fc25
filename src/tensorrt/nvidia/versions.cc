#include "tensorrt/nvidia/versions.h"

#include <fmt/format.h>

#include "halfsafe/error.h"

namespace halfsafe {

bool HasTyping(Typing typing) {
  return typing == Typing::kWeak ? NV_TENSORRT_MAJOR <= 10 : NV_TENSORRT_MAJOR >= 10;
}

bool HasInt64() { return NV_TENSORRT_MAJOR >= 10; }
bool HasBf16() { return NV_TENSORRT_MAJOR >= 10; }

std::string VersionText(int version) {
  // Three digits for minor and patch up to 9, four from 10 on.
  return version < 10000 ? fmt::format("{}.{}.{}", version / 1000, version / 100 % 10, version % 100)
                         : fmt::format("{}.{}.{}", version / 10000, version / 100 % 100, version % 100);
}

nvinfer1::INetworkDefinition* MakeNetwork(nvinfer1::IBuilder* builder, [[maybe_unused]] Typing typing) {
  [[maybe_unused]] const auto bit = [](nvinfer1::NetworkDefinitionCreationFlag flag) {
    return 1U << static_cast<uint32_t>(flag);
  };
#if NV_TENSORRT_MAJOR >= 11
  return builder->createNetworkV2(0);
#elif NV_TENSORRT_MAJOR == 10
  return builder->createNetworkV2(
      typing == Typing::kStrong ? bit(nvinfer1::NetworkDefinitionCreationFlag::kSTRONGLY_TYPED) : 0);
#else
  return builder->createNetworkV2(bit(nvinfer1::NetworkDefinitionCreationFlag::kEXPLICIT_BATCH));
#endif
}

#if NV_TENSORRT_MAJOR <= 10

void AllowTypes(bool fp16, [[maybe_unused]] bool bf16, nvinfer1::IBuilderConfig* config) {
  if (fp16) config->setFlag(nvinfer1::BuilderFlag::kFP16);
#if NV_TENSORRT_MAJOR == 10
  if (bf16) config->setFlag(nvinfer1::BuilderFlag::kBF16);
#endif
}

void BindConstraints(bool obey, nvinfer1::IBuilderConfig* config) {
  config->setFlag(obey ? nvinfer1::BuilderFlag::kOBEY_PRECISION_CONSTRAINTS
                       : nvinfer1::BuilderFlag::kPREFER_PRECISION_CONSTRAINTS);
}

void SetIoType(nvinfer1::ITensor* tensor, nvinfer1::DataType type) { tensor->setType(type); }

void ConstrainLayer(nvinfer1::ILayer* layer, nvinfer1::DataType type) {
  layer->setPrecision(type);
  for (int32_t i = 0; i < layer->getNbOutputs(); ++i) {
    const nvinfer1::ITensor* output = layer->getOutput(i);
    // Shapes and integers have types of their own.
    if (output == nullptr || !output->isExecutionTensor()) continue;
    if (output->getType() == nvinfer1::DataType::kFLOAT || output->getType() == nvinfer1::DataType::kHALF)
      layer->setOutputType(i, type);
  }
}

#else

void AllowTypes(bool, bool, nvinfer1::IBuilderConfig*) {}
void BindConstraints(bool, nvinfer1::IBuilderConfig*) {}
void SetIoType(nvinfer1::ITensor*, nvinfer1::DataType) {}
void ConstrainLayer(nvinfer1::ILayer*, nvinfer1::DataType) {}

#endif

void ShowTensor(nvinfer1::INetworkDefinition* network, nvinfer1::ITensor* tensor,
                [[maybe_unused]] nvinfer1::DataType type) {
#if NV_TENSORRT_MAJOR >= 10
  network->markDebug(*tensor);
#else
  network->markOutput(*tensor);
  tensor->setType(type);
#endif
}

bool SetShapeValues(nvinfer1::IOptimizationProfile* profile, const char* input,
                    nvinfer1::OptProfileSelector selector, const std::vector<int64_t>& values) {
  const auto count = static_cast<int32_t>(values.size());
#if NV_TENSORRT_MAJOR >= 11
  return profile->setShapeValuesV2(input, selector, values.data(), count);
#else
  const std::vector<int32_t> narrow(values.begin(), values.end());
  return profile->setShapeValues(input, selector, narrow.data(), count);
#endif
}

uint64_t ScratchBytes(const nvinfer1::ICudaEngine& engine) {
#if NV_TENSORRT_MAJOR >= 11
  return static_cast<uint64_t>(engine.getDeviceMemorySizeV2());
#else
  return static_cast<uint64_t>(engine.getDeviceMemorySize());
#endif
}

std::string ErrorNode(const nvonnxparser::IParserError& error) {
#if NV_TENSORRT_MAJOR >= 10
  return fmt::format("node {}, {} ({})", error.node(), error.nodeName(), error.nodeOperator());
#else
  return fmt::format("node {}", error.node());
#endif
}

#if NV_TENSORRT_MAJOR >= 10

namespace {

class DebugListener : public ListenerAdapter, public nvinfer1::IDebugListener {
 public:
  explicit DebugListener(TensorListener* listener) : listener_(listener) {}
  bool processDebugTensor(void const* data, nvinfer1::TensorLocation location, nvinfer1::DataType type,
                          nvinfer1::Dims const& shape, char const* name, cudaStream_t) override {
    listener_->Show(name, data, location == nvinfer1::TensorLocation::kHOST, type, shape);
    return true;
  }

 private:
  TensorListener* listener_;
};

}  // namespace

std::unique_ptr<ListenerAdapter> Listen(nvinfer1::IExecutionContext* context, TensorListener* listener) {
  auto adapter = std::make_unique<DebugListener>(listener);
  context->setDebugListener(adapter.get());
  context->setAllTensorsDebugState(true);
  return adapter;
}

#else

std::unique_ptr<ListenerAdapter> Listen(nvinfer1::IExecutionContext*, TensorListener*) { return nullptr; }

#endif

}  // namespace halfsafe
