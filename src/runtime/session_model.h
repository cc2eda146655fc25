#pragma once

#include <onnx/onnx_pb.h>

#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "halfsafe/model.h"
#include "halfsafe/sample.h"
#include "model/walk.h"
#include "runtime/chain.h"

namespace halfsafe {

/// A weight that a session reads where it lies, instead of from the serialized graph.
struct SessionWeight {
  std::string name;
  DType dtype = DType::kFloat;
  std::vector<int64_t> shape;
  std::span<const std::byte> bytes;
  std::shared_ptr<const void> owner;  ///< Keeps `bytes` alive where nothing else does.
  /// Given to each run as an input of the graph. ONNX Runtime copies a weight when it loads a model, and
  /// again when it packs it for its kernels; an input it uses where it lies.
  bool fed = false;
};

/// A model prepared for ONNX Runtime: the graph, and beside it the large weights of the main graph. Constant
/// nodes of the main graph are initializers here, so that their values too can stay outside.
struct SessionModel {
  const Model* source = nullptr;  ///< The model that it was made from, which its weights may lie in.
  onnx::ModelProto proto;
  std::vector<SessionWeight> weights;
  bool noise = false;         ///< The graph has operators of MakeNoiseOp.
  std::vector<Chain> chains;  ///< What the graph's Chain nodes compute, by their attribute `chain`.
};

/// Which models' weights are fed. Those that are only looked up are in either case.
enum class Feed {
  kOfLargeModels,  ///< See IsLarge.
  kOfAll,
  kOfNone,  ///< Not even these: right where runs are elsewhere, and would have to send the weights there each
            ///< time.
};

/// What of a model lies outside the graph.
struct WeightOptions {
  size_t large = kSmallTensor;  ///< Tensors of more bytes become weights.
  size_t large_16_bit = kSmallTensor;
  Feed feed = Feed::kOfLargeModels;
  /// Sees each weight as it is taken out, and may give it other bytes and another type: one after the other,
  /// so that no more than one weight is in memory twice.
  std::function<void(SessionWeight*)> adapt = nullptr;
};

/// `model` must outlive the result: its weights are referred to, not copied.
SessionModel MakeSessionModel(const Model& model, const WeightOptions& options = {});

/// Whether the model's weights, all in FP32, take more than 512 MiB: memory that holds them once may not hold
/// them several times, so nothing does that. Below, packed weights and models that run at the same time are
/// faster once loaded.
bool IsLarge(const Model& model);

}  // namespace halfsafe
