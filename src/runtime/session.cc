#include "runtime/session.h"

#include <fmt/format.h>
#include <onnxruntime_session_options_config_keys.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <mutex>
#include <thread>
#include <unordered_map>
#include <unordered_set>

#include "halfsafe/error.h"
#include "halfsafe/progress.h"
#include "model/external_data.h"
#include "model/walk.h"
#include "runtime/chain_op.h"
#include "runtime/provider.h"

namespace halfsafe {
namespace {

unsigned Threads(int threads) {
  return threads > 0 ? static_cast<unsigned>(threads) : std::thread::hardware_concurrency();
}

/// 0 leaves the number to ONNX Runtime: one a core.
int ThreadsOf(const SessionOptions& options) {
  if (!options.beside_another) return options.threads;
  return std::max(1, static_cast<int>(Threads(options.threads) / 2));
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
          if (outside.contains(&source)) return;
          const TensorBytes raw = model.RawBytes(source);
          if (IsExternal(source) || !raw.bytes.empty()) PutInside(raw.bytes, copy);
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

/// Adds the names of the tensors that nodes and outputs read, bodies included.
void CollectRead(const onnx::GraphProto& graph, std::unordered_set<std::string>* read) {
  for (const auto& output : graph.output()) read->insert(output.name());
  for (const auto& node : graph.node()) {
    read->insert(node.input().begin(), node.input().end());
    for (const auto& attribute : node.attribute()) {
      if (attribute.has_g()) CollectRead(attribute.g(), read);
    }
  }
}

/// The weights that ONNX Runtime keeps when it loads a graph: those that something reads, and from IR version
/// 4 on those that a caller may replace. It misses values of others, which it has dropped.
std::unordered_set<std::string> KeptWeights(const onnx::ModelProto& proto) {
  std::unordered_set<std::string> kept;
  CollectRead(proto.graph(), &kept);
  if (proto.ir_version() < 4) return kept;
  for (const auto& input : proto.graph().input()) kept.insert(input.name());
  return kept;
}

/// Weights of a large model up to this size are copied and packed like any other: they don't matter.
constexpr size_t kSmallToCopy = 64 << 10;

/// Turns the main graph's Constant nodes into initializers. Returns where the data of all initializers lies.
std::unordered_map<std::string, const onnx::TensorProto*> MoveConstantsToInitializers(
    const Model& model, onnx::GraphProto* graph) {
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
  return sources;
}

SessionWeight TakeOut(const Model& model, const onnx::TensorProto& source, const std::string& name) {
  TensorBytes raw = model.RawBytes(source);
  return {name,
          static_cast<DType>(source.data_type()),
          {source.dims().begin(), source.dims().end()},
          raw.bytes,
          std::move(raw.owner),
          false};
}

/// Operators of ONNX take any operand as an input. Some of ONNX Runtime's own and of libraries need
/// constants, and compute something else without a word where they don't get them.
bool MayBeInput(const Model& model, const std::string& name) {
  const GraphIndex& index = model.index();
  const std::vector<TensorUse>& uses = index.tensor(index.FindTensor(0, name)).uses;
  return std::all_of(uses.begin(), uses.end(),
                     [&](const TensorUse& use) { return index.node(use.node).schema != nullptr; });
}

/// Makes a weight that each run is given an input of the graph; it may be one already, with a default value.
void AddInput(const SessionWeight& weight, onnx::GraphProto* graph) {
  const auto listed = std::find_if(graph->input().begin(), graph->input().end(),
                                   [&](const auto& input) { return input.name() == weight.name; });
  if (listed != graph->input().end()) return;
  auto* input = graph->add_input();
  input->set_name(weight.name);
  auto* type = input->mutable_type()->mutable_tensor_type();
  type->set_elem_type(static_cast<int>(weight.dtype));
  for (const int64_t dim : weight.shape) type->mutable_shape()->add_dim()->set_dim_value(dim);
}

/// Says that the values are handed over beside the graph.
void ReferToMemory(onnx::TensorProto* initializer) {
  initializer->clear_raw_data();
  initializer->clear_external_data();
  initializer->set_data_location(onnx::TensorProto_DataLocation_EXTERNAL);
  auto* entry = initializer->add_external_data();
  entry->set_key("location");
  entry->set_value("in-memory");
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

bool IsLarge(const Model& model) {
  constexpr uint64_t kLarge = uint64_t{2} << 30;
  uint64_t bytes = 0;
  ForEachTensorConstant(model.proto().graph(), [&](const onnx::TensorProto& tensor) {
    if (IsFloat(static_cast<DType>(tensor.data_type()))) bytes += TensorElementCount(tensor) * sizeof(float);
  });
  return bytes > kLarge;
}

SessionModel MakeSessionModel(const Model& model, const WeightOptions& options) {
  SessionModel result;
  result.path = model.path().string();
  result.proto = WithoutLargeTensors(model.proto(), options.large);
  const std::unordered_map<std::string, const onnx::TensorProto*> sources =
      MoveConstantsToInitializers(model, result.proto.mutable_graph());
  RestoreOtherTensors(model, sources, &result.proto);
  const bool feed = options.feed == Feed::kOfAll || (options.feed == Feed::kOfLargeModels && IsLarge(model));
  onnx::GraphProto* graph = result.proto.mutable_graph();
  google::protobuf::RepeatedPtrField<onnx::TensorProto> initializers;
  initializers.Swap(graph->mutable_initializer());
  for (onnx::TensorProto& initializer : initializers) {
    const onnx::TensorProto& source = *sources.at(initializer.name());
    const bool inside = !IsExternal(source) && source.raw_data().empty();
    const uint64_t size = inside ? 0 : TensorByteSize(source);
    if (size <=
        (IsSixteenBit(static_cast<DType>(source.data_type())) ? options.large_16_bit : options.large)) {
      if (IsExternal(source)) PutInside(model.RawBytes(source).bytes, &initializer);
      graph->add_initializer()->Swap(&initializer);
      continue;
    }
    SessionWeight weight = TakeOut(model, source, initializer.name());
    if (options.adapt) {
      options.adapt(&weight);
      model.Forget(source);  // Its bytes were most likely read for the last time.
    }
    weight.fed = feed && size > kSmallToCopy && IsFloat(weight.dtype) && MayBeInput(model, weight.name);
    if (weight.fed) {
      AddInput(weight, graph);
    } else {
      ReferToMemory(&initializer);
      graph->add_initializer()->Swap(&initializer);
    }
    result.weights.push_back(std::move(weight));
  }
  ClearSharedNames(&result.proto);
  return result;
}

bool ServesTwoSessions(int threads) { return Threads(threads) >= 2; }

namespace {

/// A value of ONNX Runtime that shows `bytes` where they lie.
Ort::Value Wrap(DType dtype, const std::vector<int64_t>& shape, std::span<const std::byte> bytes) {
  static const Ort::MemoryInfo memory = Ort::MemoryInfo::CreateCpu(OrtArenaAllocator, OrtMemTypeDefault);
  return Ort::Value::CreateTensor(memory, const_cast<std::byte*>(bytes.data()), bytes.size(), shape.data(),
                                  shape.size(), static_cast<ONNXTensorElementDataType>(dtype));
}

}  // namespace

struct Session::Ops {
  Ort::CustomOpDomain domain{kTapDomain};
  std::vector<std::shared_ptr<OrtCustomOp>> taps;
};

Session::Session(const SessionModel& model, const SessionOptions& options) : ops_(std::make_unique<Ops>()) {
  ThrowIfInterrupted();
  Ort::SessionOptions native;
  native.SetIntraOpNumThreads(ThreadsOf(options));
  // Threads spin while they wait for the next operator. Those of a session that rests would take a core from
  // the one that works.
  native.AddConfigEntry(kOrtSessionOptionsConfigForceSpinningStop, "1");
  // A pattern is one block for all tensors of a run, beside the blocks of the first run that showed it.
  native.DisableMemPattern();
  native.SetGraphOptimizationLevel(options.optimization);
  if (options.taps != nullptr) {
    for (const DType dtype : {DType::kFloat, DType::kDouble, DType::kFloat16, DType::kBfloat16}) {
      ops_->taps.push_back(MakeTapOp(options.taps, dtype, Provider::kCpu));
      if (options.provider != Provider::kCpu)
        ops_->taps.push_back(MakeTapOp(options.taps, dtype, options.provider));
    }
    if (!model.chains.empty()) ops_->taps.push_back(MakeChainOp(options.taps, model.chains));
    for (const auto& op : ops_->taps) ops_->domain.Add(op.get());
    native.Add(ops_->domain);
  }
  try {
    AppendProvider(options.provider, &native);
    for (const auto& library : options.custom_op_libraries) {
      native.RegisterCustomOpsLibrary(std::filesystem::absolute(library).c_str());
    }
    std::vector<std::string> names;
    const std::unordered_set<std::string> kept = KeptWeights(model.proto);
    for (const SessionWeight& weight : model.weights) {
      if (weight.fed) {
        fed_.push_back(weight);
      } else if (kept.contains(weight.name)) {
        names.push_back(weight.name);
        weights_.push_back(Wrap(weight.dtype, weight.shape, weight.bytes));
        // Named twice: as the graph's data, for what ONNX Runtime computes beforehand, and in place of its
        // copy.
        if (options.share_weights) native.AddInitializer(weight.name.c_str(), weights_.back());
      }
    }
    if (!names.empty()) native.AddExternalInitializers(names, weights_);
    std::string text;
    if (!model.proto.SerializeToString(&text))
      throw BadInput("the model's graph is larger than 2 GiB without its weights");
    // ONNX Runtime keeps one list of domains for the process, and adding to it is not safe from two threads:
    // the first session registers the taps' domain alone.
    static std::mutex first;
    static std::atomic<bool> registered{false};
    std::unique_lock<std::mutex> alone(first, std::defer_lock);
    if (!registered) alone.lock();
    session_ = std::make_unique<Ort::Session>(Environment(), text.data(), text.size(), native);
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
  std::vector<const char*> input_names;
  std::vector<Ort::Value> inputs;
  for (const NamedArray& input : sample.inputs) {
    input_names.push_back(input.name.c_str());
    inputs.push_back(Wrap(input.array.dtype, input.array.shape, input.array.bytes));
  }
  for (const SessionWeight& weight : fed_) {
    input_names.push_back(weight.name.c_str());
    inputs.push_back(Wrap(weight.dtype, weight.shape, weight.bytes));
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
