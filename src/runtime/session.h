#pragma once

#include <onnx/onnx_pb.h>
#include <onnxruntime_cxx_api.h>

#include <filesystem>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "halfsafe/model.h"
#include "halfsafe/provider.h"
#include "halfsafe/ranges.h"
#include "halfsafe/sample.h"
#include "model/walk.h"
#include "runtime/chain.h"
#include "runtime/tap.h"

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
  std::string path;  ///< Of the model, for messages.
  onnx::ModelProto proto;
  std::vector<SessionWeight> weights;
  std::vector<Chain> chains;  ///< What the graph's Chain nodes compute, by their attribute `chain`.
};

/// Which models' weights are fed.
enum class Feed {
  kOfLargeModels,  ///< See IsLarge.
  kOfAll,
  kOfNone,  ///< Right where runs are elsewhere, and would have to send the weights there each time.
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

/// Whether the model's weights, all in FP32, take more than 2 GiB: memory that holds them once may not hold
/// them twice, so nothing does that. Below, packed weights and models that run at the same time are faster.
bool IsLarge(const Model& model);

struct SessionOptions {
  Provider provider = Provider::kCpu;
  int threads = 0;  ///< 0: one per core.
  /// One of two sessions that run at the same time: each has half of the threads.
  bool beside_another = false;
  GraphOptimizationLevel optimization = ORT_ENABLE_ALL;
  std::vector<std::filesystem::path> custom_op_libraries;
  TapHandler* taps = nullptr;  ///< Must outlive the session.
  /// Weights that no kernel wants packed are read where they lie: the model must outlive the session.
  bool share_weights = false;
};

/// A dense tensor that lies elsewhere.
struct TensorView {
  DType dtype = DType::kUndefined;
  std::vector<int64_t> shape;
  const void* data = nullptr;
  size_t count = 0;
};

/// An output of a run: a view that lives as long as the value it was made from.
struct OutputView {
  bool sequence = false;
  std::vector<TensorView> tensors;   ///< The sequence's, or one.
  std::vector<Ort::Value> elements;  ///< What the views of a sequence show: ONNX Runtime hands out copies.
};

/// Whether `threads`, as in SessionOptions, are enough to run two sessions at the same time.
bool ServesTwoSessions(int threads);

/// ONNX Runtime behind this project's types and errors.
class Session {
 public:
  /// Throws Error(kBadInput) when ONNX Runtime refuses the model, naming operator and option where an
  /// operator is unknown; Error(kUnavailable) when the provider is not there.
  Session(const SessionModel& model, const SessionOptions& options);
  ~Session();

  const std::vector<std::string>& output_names() const { return output_names_; }
  DType output_dtype(size_t index) const;
  /// Runs one sample; its inputs may come in any order. Throws Error(kBadInput) when a node fails.
  std::vector<Ort::Value> Run(const Sample& sample);

 private:
  struct Ops;
  std::unique_ptr<Ops> ops_;
  std::vector<SessionWeight> fed_;
  std::vector<Ort::Value> weights_;  ///< Views of the others.
  std::unique_ptr<Ort::Session> session_;
  std::vector<std::string> output_names_;
};

/// Throws Error(kBadInput) when the model declares an output that View refuses.
void RequireComparableOutputs(const Model& model);

/// Views a tensor or a sequence of tensors. Throws Error(kBadInput) for optionals, maps and strings.
OutputView View(const Ort::Value& value, const std::string& name);
OutputView View(const OutputValue& value);

/// The bytes behind a view.
OutputValue CopyOutput(const OutputView& view);

/// The bytes behind a view under the output's name; tensors of a sequence are NAME[0], NAME[1], ...
std::vector<NamedArray> CopyArrays(const std::string& name, const OutputView& view);

}  // namespace halfsafe
