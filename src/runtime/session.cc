#include "runtime/session.h"

#include <fmt/format.h>
#include <onnxruntime_session_options_config_keys.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <new>
#include <thread>
#include <unordered_set>
#include <vector>

#include "base/cores.h"
#include "base/room.h"
#include "data/array.h"
#include "halfsafe/error.h"
#include "halfsafe/progress.h"
#include "runtime/chain_op.h"
#include "runtime/noise.h"
#include "runtime/provider.h"
#include "runtime/running.h"

namespace halfsafe {
namespace {

int Threads(int threads) { return threads > 0 ? threads : UsableCores(); }

Error Refused(const std::string& path, const std::string& message) {
  if (SaysLacking(message)) {
    return BadInput(
        fmt::format("{}: ONNX Runtime lacks an operator of this model: {}; load a library that has it with "
                    "--custom-ops LIB.so",
                    path, message));
  }
  return BadInput(fmt::format("ONNX Runtime refuses {}: {}", path, message));
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

}  // namespace

bool SaysLacking(const std::string& message) {
  static constexpr std::string_view kSigns[] = {"is not a registered function/op", "No Op registered for",
                                                "Could not find an implementation for", "Kernel not found"};
  return std::any_of(std::begin(kSigns), std::end(kSigns),
                     [&](std::string_view sign) { return message.find(sign) != std::string::npos; });
}

int ThreadsOf(const SessionOptions& options) {
  const int threads = Threads(options.threads);
  return options.beside_another ? std::max(1, threads / 2) : threads;
}

bool ServesTwoSessions(int threads) { return Threads(threads) >= 2; }

namespace {

/// A value of ONNX Runtime that shows `bytes` where they lie.
Ort::Value Wrap(DType dtype, const std::vector<int64_t>& shape, std::span<const std::byte> bytes) {
  static const Ort::MemoryInfo memory = Ort::MemoryInfo::CreateCpu(OrtArenaAllocator, OrtMemTypeDefault);
  return Ort::Value::CreateTensor(memory, const_cast<std::byte*>(bytes.data()), bytes.size(), shape.data(),
                                  shape.size(), RuntimeType(dtype));
}

Ort::Value MakeStrings(const Array& array) {
  Ort::Value value = Ort::Value::CreateTensor(Ort::AllocatorWithDefaultOptions(), array.shape.data(),
                                              array.shape.size(), ONNX_TENSOR_ELEMENT_DATA_TYPE_STRING);
  std::vector<const char*> texts;  // Each ends with a zero byte where it lies.
  for (const std::string_view text : StringsOf(array.bytes)) texts.push_back(text.data());
  if (!texts.empty()) value.FillStringTensor(texts.data(), texts.size());
  return value;
}

Ort::Value MakeValue(const Array& array) {
  if (array.dtype == DType::kString) return MakeStrings(array);
  return Wrap(array.dtype, array.shape, array.bytes);
}

Ort::Value MakeValue(const NamedArray& input) {
  if (!input.sequence) return MakeValue(input.array);
  std::vector<Ort::Value> elements;
  for (const Array& array : *input.sequence) elements.push_back(MakeValue(array));
  return Ort::Value::CreateSequence(elements);
}

/// While ONNX Runtime copies and packs weights, gives back what it has read of the mapped file: else the
/// file's form and the packed one would both be in memory in the end.
class ForgetMeanwhile {
 public:
  /// Does nothing for a model whose weights are too small to matter.
  explicit ForgetMeanwhile(const SessionModel& model) {
    constexpr size_t kWorthIt = 32 << 20;
    size_t size = 0;
    for (const SessionWeight& weight : model.weights)
      size += weight.fed || weight.owner != nullptr ? 0 : weight.bytes.size();
    if (size < kWorthIt) return;
    thread_ = std::jthread([source = model.source](const std::stop_token& stop) {
      std::mutex mutex;
      std::unique_lock lock(mutex);
      std::condition_variable_any stopped;
      do {
        source->Forget();
        stopped.wait_for(lock, stop, std::chrono::milliseconds(10), [] { return false; });
      } while (!stop.stop_requested());
    });
  }

 private:
  std::jthread thread_;
};

}  // namespace

struct Session::Ops {
  Ort::CustomOpDomain domain{kTapDomain};
  std::vector<std::shared_ptr<OrtCustomOp>> all;
  NoiseRun noise;
};

Session::Session(const SessionModel& model, const SessionOptions& options)
    : threads_(ThreadsOf(options)), ops_(std::make_unique<Ops>()) {
  ThrowIfInterrupted();
  Ort::SessionOptions native;
  threads_.ServeSessionOf(&native);
  // Threads spin while they wait for the next operator. Those of a session that rests would take a core from
  // the one that works.
  native.AddConfigEntry(kOrtSessionOptionsConfigForceSpinningStop, "1");
  // A pattern is one block for all tensors of a run, beside the blocks of the first run that showed it.
  native.DisableMemPattern();
  native.SetGraphOptimizationLevel(options.optimization);
  const bool own_ops = options.taps != nullptr || model.noise;
  if (own_ops) AddOps(model, options, &native);
  try {
    AppendProvider(options.provider, &native);
    for (const auto& library : options.custom_op_libraries) {
      native.RegisterCustomOpsLibrary(std::filesystem::absolute(library).c_str());
    }
    AddWeights(model, &native);
    std::string text;
    if (!model.proto.SerializeToString(&text))
      throw BadInput("the model's graph is larger than 2 GiB without its weights");
    // ONNX Runtime keeps one list of domains for the process, and adding to it is not safe from two threads:
    // the first session registers the taps' domain alone.
    static std::mutex first;
    static std::atomic<bool> registered{false};
    std::unique_lock<std::mutex> alone(first, std::defer_lock);
    if (!registered) alone.lock();
    const ForgetMeanwhile forget(model);
    session_ = std::make_unique<Ort::Session>(Environment(), text.data(), text.size(), native);
    if (own_ops) registered = true;
  } catch (const Ort::Exception& error) {
    RethrowIfNoFault(error);
    // Where memory runs out while it infers shapes, ONNX Runtime goes on without them, and finds other faults
    // in the model. By now it has given back what it took, so that little is left is all there is to see.
    constexpr size_t kPlenty = 64 << 20;
    if (!HasRoomFor(kPlenty)) throw std::bad_alloc();
    throw Refused(model.source->path().string(), error.what());
  }
  const Ort::AllocatorWithDefaultOptions allocator;
  for (size_t i = 0; i < session_->GetOutputCount(); ++i) {
    output_names_.emplace_back(session_->GetOutputNameAllocated(i, allocator).get());
  }
  threads_.Begin();
}

void Session::AddOps(const SessionModel& model, const SessionOptions& options, Ort::SessionOptions* native) {
  if (options.taps != nullptr) {
    for (const DType dtype : {DType::kFloat, DType::kDouble, DType::kFloat16, DType::kBfloat16}) {
      ops_->all.push_back(MakeTapOp(options.taps, dtype, Provider::kCpu));
      if (options.provider != Provider::kCpu)
        ops_->all.push_back(MakeTapOp(options.taps, dtype, options.provider));
    }
  }
  if (!model.chains.empty()) ops_->all.push_back(MakeChainOp(options.taps, model.chains));
  if (model.noise) ops_->all.push_back(MakeNoiseOp(&ops_->noise));
  for (const auto& op : ops_->all) ops_->domain.Add(op.get());
  native->Add(ops_->domain);
}

void Session::AddWeights(const SessionModel& model, Ort::SessionOptions* native) {
  std::vector<std::string> names;
  const std::unordered_set<std::string> kept = KeptWeights(model.proto);
  for (const SessionWeight& weight : model.weights) {
    if (weight.fed) {
      fed_.push_back(weight);
    } else if (kept.contains(weight.name)) {
      names.push_back(weight.name);
      weights_.push_back(Wrap(weight.dtype, weight.shape, weight.bytes));
    }
  }
  if (!names.empty()) native->AddExternalInitializers(names, weights_);
}

Session::~Session() { threads_.ExpectEnd(); }

DType Session::output_dtype(size_t index) const {
  const auto type = session_->GetOutputTypeInfo(index);
  if (type.GetONNXType() != ONNX_TYPE_TENSOR) return DType::kUndefined;
  return FromRuntimeType(type.GetTensorTypeAndShapeInfo().GetElementType());
}

std::vector<Ort::Value> Session::Run(const Sample& sample) {
  ThrowIfInterrupted();
  std::vector<const char*> input_names;
  std::vector<Ort::Value> inputs;
  try {
    for (const NamedArray& input : sample.inputs) {
      input_names.push_back(input.name.c_str());
      inputs.push_back(MakeValue(input));
    }
  } catch (const Ort::Exception& error) {
    throw BadInput(fmt::format("sample {}: ONNX Runtime can't be given {}: {}", sample.name,
                               input_names.back(), error.what()));
  }
  for (const SessionWeight& weight : fed_) {
    input_names.push_back(weight.name.c_str());
    inputs.push_back(Wrap(weight.dtype, weight.shape, weight.bytes));
  }
  std::vector<const char*> outputs;
  for (const auto& name : output_names_) outputs.push_back(name.c_str());
  ops_->noise.sample = SampleKey(sample.name);
  ++ops_->noise.number;
  const Running running;
  try {
    return session_->Run(running.options(), input_names.data(), inputs.data(), inputs.size(), outputs.data(),
                         outputs.size());
  } catch (const Ort::Exception& error) {
    RethrowIfNoFault(error);
    throw BadInput(fmt::format("sample {}: ONNX Runtime failed: {}", sample.name, error.what()));
  }
}

}  // namespace halfsafe
