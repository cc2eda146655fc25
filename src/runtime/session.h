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
#include "halfsafe/ranges.h"
#include "halfsafe/sample.h"
#include "model/graph_index.h"

namespace halfsafe {

/// A weight that a session reads where it lies, instead of from the serialized graph.
struct SessionWeight {
  std::string name;
  DType dtype = DType::kFloat;
  std::vector<int64_t> shape;
  std::span<const std::byte> bytes;
  std::shared_ptr<const void> owner;  ///< Keeps `bytes` alive where nothing else does.
};

/// A model prepared for ONNX Runtime: the graph, and beside it the large weights of the main graph. Constant
/// nodes of the main graph are initializers here, so that their values too can stay outside.
struct SessionModel {
  std::string path;  ///< Of the model, for messages.
  onnx::ModelProto proto;
  std::vector<SessionWeight> weights;
};

/// `model` must outlive the result: its weights are referred to, not copied. Tensors of more than `large`
/// bytes become weights; 16-bit ones of more than `large_16_bit`.
SessionModel MakeSessionModel(const Model& model, size_t large = 1024, size_t large_16_bit = 1024);

/// One tensor on its way from its producer to its readers.
struct Tap {
  int64_t id = 0;  ///< The number given to InsertTaps.
  DType dtype = DType::kFloat;
  const void* input = nullptr;
  void* output = nullptr;  ///< Often the same memory as `input`.
  size_t count = 0;        ///< Elements.
  std::vector<int64_t> shape;
  /// Runs `task(0..tasks-1)` on the session's threads.
  std::function<void(size_t tasks, const std::function<void(size_t)>& task)> parallel;
};

/// Sees every tapped tensor of a session, and may change it on its way.
class TapHandler {
 public:
  virtual ~TapHandler() = default;
  /// Must fill `tap.output` (copying where it is not `tap.input`).
  virtual void Process(const Tap& tap) = 0;
};

/// Puts a tap behind the definition of every tensor of `index` for which `id_of` is not negative and
/// `dtype_of` names a float type: results, inputs of bodies, and weights that lie outside the graph. The
/// tapped tensor keeps its name, its definition gets another. `model` must be made from the model of `index`.
void InsertTaps(const GraphIndex& index, SessionModel* model, const std::function<int64_t(int tensor)>& id_of,
                const std::function<DType(int tensor)>& dtype_of);

/// Gives outputs of bodies that declare no shape the one that `index` knows: ONNX Runtime wants it declared
/// or inferred, and does not infer through taps there.
void DeclareBodyShapes(const GraphIndex& index, onnx::ModelProto* proto);

struct SessionOptions {
  int threads = 0;  ///< 0: one per core.
  GraphOptimizationLevel optimization = ORT_ENABLE_ALL;
  std::vector<std::filesystem::path> custom_op_libraries;
  TapHandler* taps = nullptr;  ///< Must outlive the session.
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

/// ONNX Runtime on the CPU behind this project's types and errors.
class Session {
 public:
  /// Throws Error(kBadInput) when ONNX Runtime refuses the model, naming operator and option where an
  /// operator is unknown.
  Session(const SessionModel& model, const SessionOptions& options);
  ~Session();

  const std::vector<std::string>& output_names() const { return output_names_; }
  DType output_dtype(size_t index) const;
  /// Runs one sample; its inputs may come in any order. Throws Error(kBadInput) when a node fails.
  std::vector<Ort::Value> Run(const Sample& sample);

 private:
  struct Ops;
  std::unique_ptr<Ops> ops_;
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
