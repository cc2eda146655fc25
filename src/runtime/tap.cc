#include "runtime/tap.h"

#ifdef HALFSAFE_SANITIZE_thread
#include <sanitizer/tsan_interface.h>
#endif
#include <onnx/defs/attr_proto_util.h>

#include <algorithm>
#include <unordered_map>
#include <unordered_set>

#include "model/shape_only.h"
#include "model/value_info.h"
#include "model/walk.h"
#include "runtime/provider.h"
#include "runtime/session_model.h"
#include "runtime/symbolic_shape.h"

namespace halfsafe {
namespace {

constexpr char kRawPrefix[] = "halfsafe.raw/";  // Names of definitions whose taps took over the name.

std::string TapName(DType dtype) { return "Tap_" + DTypeName(dtype); }

struct TapKernel {
  OrtStatusPtr ComputeV2(OrtKernelContext* raw) {
    return Guarded([&] { Compute(Ort::KernelContext(raw)); });
  }

  void Compute(const Ort::KernelContext& context) const {
    const Ort::ConstValue input = context.GetInput(0);
    const auto info = input.GetTensorTypeAndShapeInfo();
    Tap tap;
    tap.id = id;
    tap.dtype = dtype;
    tap.shape = info.GetShape();
    tap.count = info.GetElementCount();
    tap.input = input.GetTensorRawData();
    tap.output = context.GetOutput(0, tap.shape).GetTensorMutableRawData();
    tap.parallel = ParallelOf(context);
    tap.on_device = provider != Provider::kCpu;
    if (tap.on_device) tap.stream = context.GetGPUComputeStream();
    handler->Process(tap);
  }

  TapHandler* handler;
  DType dtype;
  Provider provider;
  int64_t id;
};

/// The operator that a tapped tensor passes through. In ONNX Runtime an operator without outputs would run
/// last and keep every tensor alive; one that may write its output over its input costs neither memory nor a
/// copy.
struct TapOp : Ort::CustomOpBase<TapOp, TapKernel, true> {
  TapOp(TapHandler* tap_handler, DType type, Provider where)
      : handler(tap_handler), dtype(type), provider(where), name(TapName(type)) {
    MayRunInPlace(this);
    OrtCustomOp::InferOutputShapeFn = [](const OrtCustomOp*, OrtShapeInferContext* context) {
      // The memory planner reuses the input only where it knows the output's shape.
      return Guarded([&] { SetOutputShape(context, 0, InputShape(context, 0)); });
    };
  }
  OrtStatusPtr CreateKernelV2(const OrtApi&, const OrtKernelInfo* info, void** kernel) const {
    return Guarded([&] {
      const auto id = Ort::ConstKernelInfo(info).GetAttribute<int64_t>("id");
      *kernel = new TapKernel{handler, dtype, provider, id};
    });
  }
  /// Null is the CPU.
  const char* GetExecutionProviderType() const {
    return provider == Provider::kCuda ? kCudaProvider : nullptr;
  }
  const char* GetName() const { return name.c_str(); }
  size_t GetInputTypeCount() const { return 1; }
  size_t GetOutputTypeCount() const { return 1; }
  ONNXTensorElementDataType GetInputType(size_t) const {
    return static_cast<ONNXTensorElementDataType>(dtype);
  }
  ONNXTensorElementDataType GetOutputType(size_t) const {
    return static_cast<ONNXTensorElementDataType>(dtype);
  }

  TapHandler* handler;
  DType dtype;
  Provider provider;
  std::string name;
};

/// Renames the definition of `name` in `graph` and appends the tap node that gives the name back.
void AppendTap(std::string* definition, int64_t id, DType dtype, onnx::NodeProto* tap) {
  const std::string name = *definition;
  *definition = kRawPrefix + name;
  tap->set_op_type(TapName(dtype));
  tap->set_domain(kTapDomain);
  tap->set_name("halfsafe.tap/" + name);
  tap->add_input(*definition);
  tap->add_output(name);
  *tap->add_attribute() = onnx::MakeAttribute("id", id);
}

/// States that scalars are: an operator of halfsafe's is not told whether its input is one or has no known
/// shape, and ONNX Runtime takes a size computed from an unknown shape for none.
void DeclareScalars(const GraphIndex& index, int number, const std::function<DType(int)>& dtype_of,
                    onnx::GraphProto* graph) {
  std::unordered_set<std::string> declared;
  for (const auto& value : graph->value_info()) declared.insert(value.name());
  for (const auto& output : graph->output()) declared.insert(output.name());
  for (const auto& node : graph->node()) {
    for (const std::string& name : node.output()) {
      const int id = name.empty() ? -1 : index.FindTensor(number, name);
      if (id < 0 || !index.tensor(id).is_tensor || !index.tensor(id).has_rank) continue;
      // A session may hold in FP32 what its model holds in 16 bits.
      const DType own = index.tensor(id).dtype, dtype = IsSixteenBit(own) ? dtype_of(id) : own;
      if (!index.tensor(id).shape.empty() || !IsFloat(dtype) || !declared.insert(name).second) continue;
      Declare(index.tensor(id), dtype, graph->add_value_info());
    }
  }
}

/// Where shapes are declared, ONNX Runtime computes those that nodes ask for beforehand, and drops what made
/// the tensors: taps and chains too, when of all that they lead to the shape alone is read. Whether a tensor
/// is seen would then depend on whether shapes change from sample to sample. So the last of such tensors get
/// another reader: a Cast to bool, which ONNX Runtime has for every type of whole bytes, and leaves alone
/// though nobody reads it.
void KeepWhatOnlyShapesRead(const GraphIndex& index, onnx::ModelProto* model) {
  const std::vector<onnx::GraphProto*> graphs = AllGraphs(model->mutable_graph());
  const std::vector<bool> shape_alone = ReadForShapeAlone(index);
  for (size_t id = 0; id < shape_alone.size(); ++id) {
    const TensorInfo& tensor = index.tensors()[id];
    const auto takes_shape = [&](const TensorUse& use) { return ReadsShapeAlone(index.node(use.node)); };
    if (!shape_alone[id] || tensor.kind == TensorKind::kConstant || !tensor.is_tensor ||
        DTypeSize(tensor.dtype) == 0 || std::none_of(tensor.uses.begin(), tensor.uses.end(), takes_shape))
      continue;
    onnx::NodeProto* reader = graphs[static_cast<size_t>(tensor.graph)]->add_node();
    reader->set_op_type("Cast");
    reader->set_name("halfsafe.kept/" + tensor.local);
    reader->add_input(tensor.local);
    reader->add_output("halfsafe.kept/" + tensor.local);
    *reader->add_attribute() = onnx::MakeAttribute("to", int64_t{onnx::TensorProto::BOOL});
  }
}

// What one thread did before HandOver, another one sees behind TakeOver. ONNX Runtime sees to that where it
// shares work among its threads; the thread sanitizer has to be told, because it can't look into that
// library.
#ifdef HALFSAFE_SANITIZE_thread
void HandOver(const void* work) { __tsan_release(const_cast<void*>(work)); }
void TakeOver(const void* work) { __tsan_acquire(const_cast<void*>(work)); }
#else
void HandOver(const void*) {}
void TakeOver(const void*) {}
#endif

}  // namespace

Parallel ParallelOf(const Ort::KernelContext& context) {
  return [&context](size_t tasks, const std::function<void(size_t)>& task) {
    HandOver(&task);
    context.ParallelFor(
        [](void* work, size_t index) {
          TakeOver(work);
          (*static_cast<const std::function<void(size_t)>*>(work))(index);
          HandOver(work);
        },
        tasks, 0, const_cast<std::function<void(size_t)>*>(&task));
    TakeOver(&task);
  };
}

void MayRunInPlace(OrtCustomOp* op) {
  op->GetMayInplace = [](int** input, int** output) -> size_t {
    *input = new int(0);
    *output = new int(0);
    return 1;
  };
  op->ReleaseMayInplace = [](int* input, int* output) {
    delete input;
    delete output;
  };
}

void ImportTapDomain(onnx::ModelProto* proto) {
  if (OpsetVersion(*proto, kTapDomain) > 0) return;
  auto* import = proto->add_opset_import();
  import->set_domain(kTapDomain);
  import->set_version(1);
}

std::shared_ptr<OrtCustomOp> MakeTapOp(TapHandler* handler, DType dtype, Provider provider) {
  return std::make_shared<TapOp>(handler, dtype, provider);
}

void InsertTaps(const GraphIndex& index, SessionModel* model, const std::function<int64_t(int)>& id_of,
                const std::function<DType(int)>& dtype_of) {
  onnx::ModelProto* proto = &model->proto;
  // A weight may be an initializer, an input, or both: an input with a default value.
  std::unordered_multimap<std::string, std::string*> definitions;
  for (auto& input : *proto->mutable_graph()->mutable_input())
    definitions.emplace(input.name(), input.mutable_name());
  for (auto& initializer : *proto->mutable_graph()->mutable_initializer())
    definitions.emplace(initializer.name(), initializer.mutable_name());
  // Moving a node moves its bodies along, so inner graphs go first.
  const std::vector<onnx::GraphProto*> graphs = AllGraphs(proto->mutable_graph());
  for (size_t number = graphs.size(); number-- > 0;) {
    onnx::GraphProto* graph = graphs[number];
    google::protobuf::RepeatedPtrField<onnx::NodeProto> nodes;
    nodes.Swap(graph->mutable_node());
    const auto tap = [&](std::string* definition) {
      const int tensor = definition->empty() ? -1 : index.FindTensor(static_cast<int>(number), *definition);
      const int64_t id = tensor < 0 ? -1 : id_of(tensor);
      if (id >= 0) AppendTap(definition, id, dtype_of(tensor), graph->add_node());
    };
    if (number > 0) {
      for (auto& input : *graph->mutable_input()) tap(input.mutable_name());
    } else {
      for (SessionWeight& weight : model->weights) {
        const std::string name = weight.name;
        tap(&weight.name);
        const auto [first, last] = definitions.equal_range(name);
        for (auto definition = first; definition != last; ++definition) *definition->second = weight.name;
      }
    }
    for (auto& node : nodes) {
      onnx::NodeProto* kept = graph->add_node();
      kept->Swap(&node);
      for (auto& output : *kept->mutable_output()) tap(&output);
    }
    DeclareScalars(index, static_cast<int>(number), dtype_of, graph);
  }
  KeepWhatOnlyShapesRead(index, proto);
  ImportTapDomain(proto);
}

void DeclareBodyShapes(const GraphIndex& index, onnx::ModelProto* proto) {
  const std::vector<onnx::GraphProto*> graphs = AllGraphs(proto->mutable_graph());
  for (size_t number = 1; number < graphs.size(); ++number) {
    for (auto& output : *graphs[number]->mutable_output()) {
      const int id = index.FindTensor(static_cast<int>(number), output.name());
      if (id < 0 || !index.tensor(id).has_rank || !index.tensor(id).is_tensor) continue;
      auto* type = output.mutable_type()->mutable_tensor_type();
      if (type->has_shape()) continue;
      if (type->elem_type() == 0) type->set_elem_type(static_cast<int>(index.tensor(id).dtype));
      WriteShape(index.tensor(id), type);
    }
  }
}

}  // namespace halfsafe
