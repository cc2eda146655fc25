#pragma once

#include <onnx/onnx_pb.h>
#include <onnxruntime_cxx_api.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "halfsafe/model.h"
#include "halfsafe/provider.h"
#include "model/graph_index.h"

namespace halfsafe {

struct SessionModel;

/// Domain of the operators that observe.
inline constexpr char kTapDomain[] = "halfsafe.tap";

/// Values per task: large enough to hide the cost of a task, fixed so that sums don't depend on the number of
/// threads.
inline constexpr size_t kTaskValues = 1 << 14;

/// Runs `task(0..tasks-1)` on the session's threads.
using Parallel = std::function<void(size_t tasks, const std::function<void(size_t)>& task)>;

/// `Parallel` on the threads of the session that runs `context`, which must outlive it.
Parallel ParallelOf(const Ort::KernelContext& context);

/// One tensor on its way from its producer to its readers.
struct Tap {
  int64_t id = 0;  ///< The number given to InsertTaps.
  DType dtype = DType::kFloat;
  const void* input = nullptr;
  void* output = nullptr;  ///< Often the same memory as `input`.
  size_t count = 0;        ///< Elements.
  std::vector<int64_t> shape;
  Parallel parallel;  ///< Where the tensor lies in host memory.
  /// The tensor lies in the memory of a GPU: what is done with it is queued on `stream`, a cudaStream_t.
  bool on_device = false;
  void* stream = nullptr;
};

/// Takes tensors of one shape in blocks, while a chain computes them. Tasks run on any threads; the blocks of
/// one task come in order, one at a time.
class BlockSink {
 public:
  virtual ~BlockSink() = default;
  /// Values of tensor `which` of those that the sink was made for.
  virtual void Add(size_t task, size_t which, const float* values, size_t count) = 0;
  /// All tasks are done.
  virtual void Finish() = 0;
};

/// Sees every tapped tensor of a session, and may change it on its way.
class TapHandler {
 public:
  virtual ~TapHandler() = default;
  /// Must fill `tap.output` (copying where it is not `tap.input`).
  virtual void Process(const Tap& tap) = 0;
  /// A sink for the tensors `ids`, which must outlive it, seen as a whole in `tasks` tasks. Only handlers
  /// whose model has chains need it.
  virtual std::unique_ptr<BlockSink> Watch(std::span<const int64_t> /*ids*/, size_t /*tasks*/) {
    return nullptr;
  }
};

/// Puts a tap behind the definition of every tensor of `index` for which `id_of` is not negative and
/// `dtype_of` names a float type: results, inputs of bodies, and weights that lie outside the graph. The
/// tapped tensor keeps its name, its definition gets another. `model` must be made from the model of `index`.
void InsertTaps(const GraphIndex& index, SessionModel* model, const std::function<int64_t(int tensor)>& id_of,
                const std::function<DType(int tensor)>& dtype_of);

/// Gives outputs of bodies that declare no shape the one that `index` knows: ONNX Runtime wants it declared
/// or inferred, and does not infer through taps there.
void DeclareBodyShapes(const GraphIndex& index, onnx::ModelProto* proto);

/// The operator that tapped tensors of one type pass through on a provider. `handler` must outlive it. A
/// session on CUDA has it for the CPU too: ONNX Runtime keeps some tensors there.
std::shared_ptr<OrtCustomOp> MakeTapOp(TapHandler* handler, DType dtype, Provider provider);

/// Makes `proto` import the domain of these operators.
void ImportTapDomain(onnx::ModelProto* proto);

/// Lets output 0 of an operator take the memory of its input 0.
void MayRunInPlace(OrtCustomOp* op);

}  // namespace halfsafe
