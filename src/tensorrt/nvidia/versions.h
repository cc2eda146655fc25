#pragma once

#include <NvInfer.h>
#include <NvOnnxParser.h>

#include <cstdint>
#include <string>
#include <vector>

#include "halfsafe/engine.h"

/// What differs between TensorRT 8.6, 9, 10 and 11, behind functions that are the same for all of them.
namespace halfsafe {

bool HasTyping(Typing typing);
bool HasInt64();
bool HasBf16();
/// "10.15.1" of what getInferLibVersion returns.
std::string VersionText(int version);

nvinfer1::INetworkDefinition* MakeNetwork(nvinfer1::IBuilder* builder, Typing typing);
/// Weak typing: 16-bit types that TensorRT may pick.
void AllowTypes(bool fp16, bool bf16, nvinfer1::IBuilderConfig* config);
/// Weak typing: whether constraints on layers bind TensorRT, or are wishes.
void BindConstraints(bool obey, nvinfer1::IBuilderConfig* config);
/// Weak typing: the type of an input or output of the network.
void SetIoType(nvinfer1::ITensor* tensor, nvinfer1::DataType type);
/// Weak typing: the layer computes in `type` and stores its floats in it.
void ConstrainLayer(nvinfer1::ILayer* layer, nvinfer1::DataType type);
/// Makes a tensor visible in runs: for a debug listener from 10 on, as an output before. With weak typing an
/// output is stored as `type`.
void ShowTensor(nvinfer1::INetworkDefinition* network, nvinfer1::ITensor* tensor, nvinfer1::DataType type);
bool SetShapeValues(nvinfer1::IOptimizationProfile* profile, const char* input,
                    nvinfer1::OptProfileSelector selector, const std::vector<int64_t>& values);
uint64_t ScratchBytes(const nvinfer1::ICudaEngine& engine);
/// "node 3, Conv_1 (Conv)": as much as the parser says.
std::string ErrorNode(const nvonnxparser::IParserError& error);

/// Collects what a run shows of tensors that ShowTensor marked for a listener.
class TensorListener {
 public:
  virtual ~TensorListener() = default;
  /// `data` is valid during the call alone, on the host where `on_host`.
  virtual void Show(const char* name, const void* data, bool on_host, nvinfer1::DataType type,
                    const nvinfer1::Dims& shape) = 0;
};

/// Has `listener` called in the context's runs; the result has to live as long. Null before 10, and where the
/// engine has no such tensors.
struct ListenerAdapter {
  virtual ~ListenerAdapter() = default;
};
std::unique_ptr<ListenerAdapter> Listen(nvinfer1::IExecutionContext* context, TensorListener* listener);

}  // namespace halfsafe
