#include "runtime/session.h"

#include <fmt/format.h>

#include <atomic>
#include <cstring>
#include <mutex>
#include <unordered_map>
#include <unordered_set>

#include "halfsafe/error.h"
#include "halfsafe/progress.h"
#include "model/walk.h"

namespace halfsafe {
namespace {

constexpr char kTapDomain[] = "halfsafe.tap";
constexpr char kRawPrefix[] = "halfsafe.raw/";  // Names of definitions whose taps took over the name.

/// One environment for the process. Its threads serve all sessions: with threads of their own, idle sessions
/// would spin against the one that works. The first session's number of threads is taken.
Ort::Env& Environment(int threads) {
  static Ort::Env env = [threads] {
    Ort::ThreadingOptions pools;
    pools.SetGlobalIntraOpNumThreads(threads);
    // Silent: every failure comes back as an exception and is reported once, in our words.
    return Ort::Env(pools, ORT_LOGGING_LEVEL_FATAL, "halfsafe");
  }();
  return env;
}

std::string TapName(DType dtype) { return "Tap_" + DTypeName(dtype); }

struct TapKernel {
  TapKernel(TapHandler* tap_handler, DType type, const OrtKernelInfo* info)
      : handler(tap_handler), dtype(type), id(Ort::ConstKernelInfo(info).GetAttribute<int64_t>("id")) {}

  void Compute(OrtKernelContext* raw) const {
    Ort::KernelContext context(raw);
    const Ort::ConstValue input = context.GetInput(0);
    const auto info = input.GetTensorTypeAndShapeInfo();
    Tap tap;
    tap.id = id;
    tap.dtype = dtype;
    tap.shape = info.GetShape();
    tap.count = info.GetElementCount();
    tap.input = input.GetTensorRawData();
    tap.output = context.GetOutput(0, tap.shape).GetTensorMutableRawData();
    tap.parallel = [&](size_t tasks, const std::function<void(size_t)>& task) {
      context.ParallelFor(
          [](void* work, size_t index) { (*static_cast<const std::function<void(size_t)>*>(work))(index); },
          tasks, 0, const_cast<std::function<void(size_t)>*>(&task));
    };
    handler->Process(tap);
  }

  TapHandler* handler;
  DType dtype;
  int64_t id;
};

/// Shape inference of a tap: the output has the input's shape. The memory planner reuses the input only where
/// it knows the output's shape.
OrtStatusPtr SameShape(const OrtCustomOp*, OrtShapeInferContext* context) {
  const OrtApi& api = Ort::GetApi();
  OrtTensorTypeAndShapeInfo* info = nullptr;
  if (OrtStatus* status = api.ShapeInferContext_GetInputTypeShape(context, 0, &info)) return status;
  size_t rank = 0;
  if (OrtStatus* status = api.GetDimensionsCount(info, &rank)) return status;
  // Rank 0 is also what an unknown shape looks like here, so it is left open: a scalar costs nothing to copy.
  if (rank == 0) return nullptr;
  std::vector<int64_t> dims(rank);
  if (OrtStatus* status = api.GetDimensions(info, dims.data(), rank)) return status;
  std::vector<const char*> symbols(rank, "");
  if (OrtStatus* status = api.GetSymbolicDimensions(info, symbols.data(), rank)) return status;
  // A dimension without a value or a name would be taken for the number -1, so it gets a name of its own.
  static std::atomic<uint64_t> counter{0};
  std::vector<std::string> names(rank);
  for (size_t i = 0; i < rank; ++i) {
    names[i] = symbols[i] == nullptr ? "" : symbols[i];
    if (dims[i] < 0 && names[i].empty()) names[i] = fmt::format("halfsafe_tap_{}", counter++);
    symbols[i] = names[i].c_str();
  }
  OrtTensorTypeAndShapeInfo* result = nullptr;
  ONNXTensorElementDataType type = ONNX_TENSOR_ELEMENT_DATA_TYPE_UNDEFINED;
  if (OrtStatus* status = api.GetTensorElementType(info, &type)) return status;
  if (OrtStatus* status = api.CreateTensorTypeAndShapeInfo(&result)) return status;
  const std::unique_ptr<OrtTensorTypeAndShapeInfo, decltype(api.ReleaseTensorTypeAndShapeInfo)> owner(
      result, api.ReleaseTensorTypeAndShapeInfo);
  if (OrtStatus* status = api.SetTensorElementType(result, type)) return status;
  if (OrtStatus* status = api.SetDimensions(result, dims.data(), rank)) return status;
  if (OrtStatus* status = api.SetSymbolicDimensions(result, symbols.data(), rank)) return status;
  return api.ShapeInferContext_SetOutputTypeShape(context, 0, result);
}

/// The operator that a tapped tensor passes through. In ONNX Runtime an operator without outputs would run
/// last and keep every tensor alive; one that may write its output over its input costs neither memory nor a
/// copy.
struct TapOp : Ort::CustomOpBase<TapOp, TapKernel> {
  TapOp(TapHandler* tap_handler, DType type) : handler(tap_handler), dtype(type), name(TapName(type)) {
    OrtCustomOp::GetMayInplace = [](int** input, int** output) -> size_t {
      *input = new int(0);
      *output = new int(0);
      return 1;
    };
    OrtCustomOp::ReleaseMayInplace = [](int* input, int* output) {
      delete input;
      delete output;
    };
    OrtCustomOp::InferOutputShapeFn = &SameShape;
  }
  void* CreateKernel(const OrtApi&, const OrtKernelInfo* info) const {
    return new TapKernel(handler, dtype, info);
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
  auto* attribute = tap->add_attribute();
  attribute->set_name("id");
  attribute->set_type(onnx::AttributeProto::INT);
  attribute->set_i(id);
}

Error Refused(const std::string& path, const std::string& message) {
  // ONNX Runtime's own words for an operator that it has no kernel or schema for.
  for (const char* sign :
       {"is not a registered function/op", "No Op registered for", "Could not find an implementation for"}) {
    if (message.find(sign) != std::string::npos) {
      return BadInput(
          fmt::format("{}: ONNX Runtime lacks an operator of this model: {}; load a library that has it with "
                      "--custom-ops LIB.so",
                      path, message));
    }
  }
  return BadInput(fmt::format("ONNX Runtime refuses {}: {}", path, message));
}

/// Gives tensors inside bodies and in attributes their data back: only weights of the main graph can stay
/// outside.
void RestoreOtherTensors(const Model& model,
                         const std::unordered_map<std::string, const onnx::TensorProto*>& weights,
                         onnx::ModelProto* proto) {
  std::unordered_set<const onnx::TensorProto*> outside;
  for (const auto& [name, tensor] : weights) outside.insert(tensor);
  // Constant nodes became initializers behind the others, so the copies are paired up by graph.
  const std::function<void(const onnx::GraphProto&, onnx::GraphProto*)> restore =
      [&](const onnx::GraphProto& from, onnx::GraphProto* to) {
        const auto fill = [&](const onnx::TensorProto& source, onnx::TensorProto* copy) {
          const auto raw = model.RawBytes(source);
          if (outside.contains(&source) || raw.empty()) return;
          copy->clear_external_data();
          copy->clear_data_location();
          copy->set_raw_data(raw.data(), raw.size());
        };
        for (int i = 0; i < from.initializer_size(); ++i)
          fill(from.initializer(i), to->mutable_initializer(i));
        int next = 0;
        for (const auto& node : from.node()) {
          const bool taken =
              node.output_size() > 0 && weights.contains(node.output(0)) && &from == &model.proto().graph();
          if (taken) continue;
          onnx::NodeProto* copy = to->mutable_node(next++);
          for (int a = 0; a < node.attribute_size(); ++a) {
            if (node.attribute(a).has_t())
              fill(node.attribute(a).t(), copy->mutable_attribute(a)->mutable_t());
            if (node.attribute(a).has_g())
              restore(node.attribute(a).g(), copy->mutable_attribute(a)->mutable_g());
          }
        }
      };
  restore(model.proto().graph(), proto->mutable_graph());
}

/// ONNX Runtime refuses two nodes of one name. Other runtimes don't, and no name is needed here.
void ClearSharedNames(onnx::ModelProto* proto) {
  for (onnx::GraphProto* graph : AllGraphs(proto->mutable_graph())) {
    std::unordered_set<std::string> taken;
    for (auto& node : *graph->mutable_node()) {
      if (!taken.insert(node.name()).second) node.clear_name();
    }
  }
}

}  // namespace

SessionModel MakeSessionModel(const Model& model, size_t large, size_t large_16_bit) {
  SessionModel result;
  result.path = model.path().string();
  result.proto = WithoutLargeTensors(model.proto(), large);
  onnx::GraphProto* graph = result.proto.mutable_graph();
  std::unordered_map<std::string, const onnx::TensorProto*> sources;
  for (const auto& tensor : model.proto().graph().initializer()) sources[tensor.name()] = &tensor;

  google::protobuf::RepeatedPtrField<onnx::NodeProto> nodes;
  nodes.Swap(graph->mutable_node());
  for (int i = 0; i < nodes.size(); ++i) {
    const onnx::NodeProto& original = model.proto().graph().node(i);
    const auto* value = FindAttribute(original, "value");
    const bool constant = original.op_type() == "Constant" && original.domain().empty() && value != nullptr;
    if (!constant) {
      graph->add_node()->Swap(nodes.Mutable(i));
      continue;
    }
    onnx::TensorProto* initializer = graph->add_initializer();
    initializer->Swap(const_cast<onnx::AttributeProto*>(FindAttribute(nodes.Get(i), "value"))->mutable_t());
    initializer->set_name(original.output(0));
    sources[original.output(0)] = &value->t();
  }
  RestoreOtherTensors(model, sources, &result.proto);
  for (auto& initializer : *graph->mutable_initializer()) {
    const onnx::TensorProto& source = *sources.at(initializer.name());
    const auto raw = model.RawBytes(source);
    const bool external = source.data_location() == onnx::TensorProto_DataLocation_EXTERNAL;
    const bool sixteen_bit =
        source.data_type() == onnx::TensorProto::FLOAT16 || source.data_type() == onnx::TensorProto::BFLOAT16;
    const size_t largest = sixteen_bit ? large_16_bit : large;
    if (raw.size() <= largest && !external) continue;
    if (raw.size() <= largest) {
      initializer.clear_external_data();
      initializer.clear_data_location();
      initializer.set_raw_data(raw.data(), raw.size());
      continue;
    }
    result.weights.push_back({initializer.name(),
                              static_cast<DType>(source.data_type()),
                              {source.dims().begin(), source.dims().end()},
                              raw,
                              nullptr});
    initializer.clear_raw_data();
    initializer.clear_external_data();
    initializer.set_data_location(onnx::TensorProto_DataLocation_EXTERNAL);
    auto* entry = initializer.add_external_data();
    entry->set_key("location");
    entry->set_value("in-memory");
  }
  ClearSharedNames(&result.proto);
  return result;
}

void InsertTaps(const GraphIndex& index, SessionModel* model, const std::function<int64_t(int)>& id_of,
                const std::function<DType(int)>& dtype_of) {
  onnx::ModelProto* proto = &model->proto;
  std::unordered_map<std::string, onnx::TensorProto*> initializers;
  for (auto& initializer : *proto->mutable_graph()->mutable_initializer())
    initializers[initializer.name()] = &initializer;
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
        tap(&weight.name);
        if (initializers.contains(weight.name)) continue;
        initializers.at(weight.name.substr(sizeof(kRawPrefix) - 1))->set_name(weight.name);
      }
    }
    for (auto& node : nodes) {
      onnx::NodeProto* kept = graph->add_node();
      kept->Swap(&node);
      for (auto& output : *kept->mutable_output()) tap(&output);
    }
  }
  auto* import = proto->add_opset_import();
  import->set_domain(kTapDomain);
  import->set_version(1);
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
      auto* shape = type->mutable_shape();
      for (const int64_t dim : index.tensor(id).shape) {
        auto* written = shape->add_dim();
        if (dim >= 0) written->set_dim_value(dim);
      }
    }
  }
}

struct Session::Ops {
  Ort::CustomOpDomain domain{kTapDomain};
  std::vector<std::unique_ptr<TapOp>> taps;
};

Session::Session(const SessionModel& model, const SessionOptions& options) : ops_(std::make_unique<Ops>()) {
  ThrowIfInterrupted();
  Ort::SessionOptions native;
  native.DisablePerSessionThreads();
  native.SetGraphOptimizationLevel(options.optimization);
  if (options.taps != nullptr) {
    for (const DType dtype : {DType::kFloat, DType::kDouble, DType::kFloat16, DType::kBfloat16}) {
      ops_->taps.push_back(std::make_unique<TapOp>(options.taps, dtype));
      ops_->domain.Add(ops_->taps.back().get());
    }
    native.Add(ops_->domain);
  }
  try {
    for (const auto& library : options.custom_op_libraries) {
      native.RegisterCustomOpsLibrary(std::filesystem::absolute(library).c_str());
    }
    const Ort::MemoryInfo memory = Ort::MemoryInfo::CreateCpu(OrtArenaAllocator, OrtMemTypeDefault);
    std::vector<Ort::Value> values;
    std::vector<std::string> names;
    for (const SessionWeight& weight : model.weights) {
      names.push_back(weight.name);
      values.push_back(Ort::Value::CreateTensor(memory, const_cast<std::byte*>(weight.bytes.data()),
                                                weight.bytes.size(), weight.shape.data(), weight.shape.size(),
                                                static_cast<ONNXTensorElementDataType>(weight.dtype)));
    }
    if (!names.empty()) native.AddExternalInitializers(names, values);
    std::string text;
    if (!model.proto.SerializeToString(&text))
      throw BadInput("the model's graph is larger than 2 GiB without its weights");
    // ONNX Runtime keeps one list of domains for the process, and adding to it is not safe from two threads:
    // the first session registers the taps' domain alone.
    static std::mutex first;
    static std::atomic<bool> registered{false};
    std::unique_lock<std::mutex> alone(first, std::defer_lock);
    if (!registered) alone.lock();
    session_ = std::make_unique<Ort::Session>(Environment(options.threads), text.data(), text.size(), native);
    if (options.taps != nullptr) registered = true;
  } catch (const Ort::Exception& error) {
    throw Refused(model.path, error.what());
  }
  const Ort::AllocatorWithDefaultOptions allocator;
  for (size_t i = 0; i < session_->GetOutputCount(); ++i) {
    output_names_.emplace_back(session_->GetOutputNameAllocated(i, allocator).get());
  }
}

Session::~Session() = default;

DType Session::output_dtype(size_t index) const {
  const auto type = session_->GetOutputTypeInfo(index);
  if (type.GetONNXType() != ONNX_TYPE_TENSOR) return DType::kUndefined;
  return static_cast<DType>(type.GetTensorTypeAndShapeInfo().GetElementType());
}

std::vector<Ort::Value> Session::Run(const Sample& sample) {
  ThrowIfInterrupted();
  const Ort::MemoryInfo memory = Ort::MemoryInfo::CreateCpu(OrtArenaAllocator, OrtMemTypeDefault);
  std::vector<const char*> input_names;
  std::vector<Ort::Value> inputs;
  for (const NamedArray& input : sample.inputs) {
    input_names.push_back(input.name.c_str());
    inputs.push_back(Ort::Value::CreateTensor(memory, const_cast<std::byte*>(input.array.bytes.data()),
                                              input.array.bytes.size(), input.array.shape.data(),
                                              input.array.shape.size(),
                                              static_cast<ONNXTensorElementDataType>(input.array.dtype)));
  }
  std::vector<const char*> outputs;
  for (const auto& name : output_names_) outputs.push_back(name.c_str());
  try {
    return session_->Run(Ort::RunOptions{}, input_names.data(), inputs.data(), inputs.size(), outputs.data(),
                         outputs.size());
  } catch (const Ort::Exception& error) {
    throw BadInput(fmt::format("sample {}: ONNX Runtime failed: {}", sample.name, error.what()));
  }
}

namespace {

TensorView ViewTensor(const Ort::Value& value, const std::string& name) {
  const auto info = value.GetTensorTypeAndShapeInfo();
  TensorView view;
  view.dtype = static_cast<DType>(info.GetElementType());
  if (DTypeSize(view.dtype) == 0) {
    throw BadInput(
        fmt::format("output {} has type {}, which can't be compared", name, DTypeName(view.dtype)));
  }
  view.shape = info.GetShape();
  view.count = info.GetElementCount();
  view.data = value.GetTensorRawData();
  return view;
}

Array CopyTensor(const TensorView& view) {
  const auto* bytes = static_cast<const std::byte*>(view.data);
  return {view.dtype, view.shape, {bytes, bytes + view.count * DTypeSize(view.dtype)}};
}

Error NotComparable(const std::string& name) {
  return BadInput(fmt::format(
      "output {} is neither a tensor nor a sequence of tensors: optionals and maps can't be compared", name));
}

}  // namespace

void RequireComparableOutputs(const Model& model) {
  for (const auto& output : model.proto().graph().output()) {
    const auto& type = output.type();
    const bool known = type.value_case() != onnx::TypeProto::VALUE_NOT_SET;
    const bool sequence = type.has_sequence_type() && type.sequence_type().elem_type().has_tensor_type();
    if (known && !type.has_tensor_type() && !sequence)
      throw NotComparable(fmt::format("{} of {}", output.name(), model.path().string()));
  }
}

OutputView View(const Ort::Value& value, const std::string& name) {
  OutputView view;
  if (value.IsTensor()) {
    view.tensors.push_back(ViewTensor(value, name));
    return view;
  }
  if (value.GetTypeInfo().GetONNXType() != ONNX_TYPE_SEQUENCE) throw NotComparable(name);
  view.sequence = true;
  const Ort::AllocatorWithDefaultOptions allocator;
  for (size_t i = 0; i < value.GetCount(); ++i) {
    view.elements.push_back(value.GetValue(static_cast<int>(i), allocator));
    if (!view.elements.back().IsTensor()) throw NotComparable(name);
    view.tensors.push_back(ViewTensor(view.elements.back(), name));
  }
  return view;
}

OutputView View(const OutputValue& value) {
  OutputView view;
  view.sequence = value.sequence;
  for (const Array& array : value.tensors) {
    view.tensors.push_back(
        {array.dtype, array.shape, array.bytes.data(), array.bytes.size() / DTypeSize(array.dtype)});
  }
  return view;
}

OutputValue CopyOutput(const OutputView& view) {
  OutputValue value;
  value.sequence = view.sequence;
  for (const TensorView& tensor : view.tensors) value.tensors.push_back(CopyTensor(tensor));
  return value;
}

std::vector<NamedArray> CopyArrays(const std::string& name, const OutputView& view) {
  std::vector<NamedArray> arrays;
  for (size_t i = 0; i < view.tensors.size(); ++i)
    arrays.push_back({view.sequence ? fmt::format("{}[{}]", name, i) : name, CopyTensor(view.tensors[i])});
  return arrays;
}

}  // namespace halfsafe
