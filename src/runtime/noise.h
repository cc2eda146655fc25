#pragma once

#include <onnx/onnx_pb.h>
#include <onnxruntime_cxx_api.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>

#include "model/graph_index.h"

namespace halfsafe {

/// Puts subgraphs around one operator of kTapDomain in place of the nodes of `proto` that draw random
/// numbers: RandomNormal, RandomUniform, their Like forms, Bernoulli, Multinomial, and Dropout that trains.
/// ONNX Runtime's own give other numbers in every run, whatever their seed; these give the same in any model
/// that has the same such nodes in the same order, for the same sample. `index` is that of the model that
/// `proto` was made from. Returns whether there are any.
bool KeyNoise(const GraphIndex& index, onnx::ModelProto* proto);

/// What the operator's numbers depend on beside the node: set before each run of the session.
struct NoiseRun {
  std::atomic<uint64_t> sample{0};  ///< See SampleKey.
  std::atomic<uint64_t> number{0};  ///< Differs from run to run.
};

/// A number for a sample of this name. The folders that it lies in have no part in it.
uint64_t SampleKey(const std::string& name);

/// The operator. `run` must outlive it.
std::shared_ptr<OrtCustomOp> MakeNoiseOp(const NoiseRun* run);

}  // namespace halfsafe
