#include <fmt/format.h>

#include <regex>
#include <unordered_map>
#include <unordered_set>

#include "halfsafe/error.h"
#include "halfsafe/ranges.h"
#include "model/graph_index.h"
#include "model/op_traits.h"
#include "model/runnable.h"
#include "model/walk.h"
#include "observe/chains.h"
#include "observe/constants.h"
#include "observe/observer.h"
#include "observe/sum_bound.h"
#include "runtime/session_cache.h"

namespace halfsafe {
namespace {

/// Where each tensor's statistics come from.
struct Slots {
  std::vector<int64_t> slot;  ///< Per tensor: its slot in the observer, or -1.
  std::vector<int> same_as;   ///< Per tensor: the tensor that holds the same values, or -1.
  std::vector<bool> by_rows;  ///< Per tensor: its rows are looked at too, for which a tap must see it whole.
};

/// The rows of the Softmax operators that read a tensor; nothing where there are none, or they run along
/// different axes.
std::optional<RowAxis> RowsOf(const GraphIndex& index, const Model& model, const TensorInfo& tensor) {
  std::optional<RowAxis> rows;
  const bool old = OpsetVersion(model.proto(), "") < 13;
  for (const TensorUse& use : tensor.uses) {
    const onnx::NodeProto& node = *index.node(use.node).proto;
    if (node.op_type() != "Softmax" || !node.domain().empty()) continue;
    const int64_t axis = IntAttribute(node, "axis", old ? 1 : -1);
    if (rows && rows->axis != axis) return std::nullopt;
    rows = RowAxis{axis, old};
  }
  return rows;
}

Slots ChooseSlots(const GraphIndex& index, const Model& model, Observer* observer) {
  Slots slots;
  slots.slot.assign(index.tensors().size(), -1);
  slots.same_as.assign(index.tensors().size(), -1);
  slots.by_rows.assign(index.tensors().size(), false);
  for (size_t id = 0; id < index.tensors().size(); ++id) {
    const TensorInfo& tensor = index.tensors()[id];
    if (!tensor.is_tensor || !IsFloat(tensor.dtype) || tensor.kind == TensorKind::kConstant) continue;
    if (tensor.producer >= 0) {
      const NodeInfo& node = index.node(tensor.producer);
      const int source = node.inputs.empty() ? -1 : node.inputs[0];
      // Only within one graph: a body may run any number of times on the same outer tensor.
      if (TraitsOf(*node.proto).values == Values::kPermuted && source >= 0 &&
          index.tensor(source).graph == tensor.graph && index.tensor(source).kind != TensorKind::kConstant &&
          tensor.producer_slot == 0 && !RowsOf(index, model, tensor)) {
        slots.same_as[id] = source;
        continue;
      }
    }
    const std::optional<RowAxis> rows = RowsOf(index, model, tensor);
    slots.slot[id] = observer->AddSlot(rows);
    slots.by_rows[id] = rows.has_value();
  }
  return slots;
}

/// Chains where the model runs optimized, and taps for everything else that a slot observes; graph inputs are
/// read from the samples instead. `saved` says which tensors the run has to give out.
SessionModel ObservedModel(const Model& model, const GraphIndex& index, const Slots& slots, bool chains,
                           const std::function<bool(const std::string&)>& saved) {
  SessionModel session = MakeSessionModel(model);
  DeclareBodyShapes(index, &session.proto);
  std::vector<bool> in_chain(index.tensors().size(), false);
  if (chains) {
    ChainNeeds needs;
    needs.id_of = [&](int id) {
      return slots.by_rows[static_cast<size_t>(id)] ? -1 : slots.slot[static_cast<size_t>(id)];
    };
    needs.is_needed = [&](int id) {
      return slots.by_rows[static_cast<size_t>(id)] || saved(index.tensor(id).name);
    };
    in_chain = InsertChains(model, index, needs, &session);
  }
  InsertTaps(
      index, &session,
      [&](int tensor) {
        const size_t number = static_cast<size_t>(tensor);
        return in_chain[number] ? -1 : slots.slot[number];
      },
      [&](int tensor) { return index.tensor(tensor).dtype; });
  return session;
}

/// What the observer saw of a tensor in the current sample, if it is one of those that are observed.
SumBounds::Lookup InSample(const Slots& slots, const Observer& observer) {
  return [&](int tensor) -> std::optional<SampleSums> {
    const int source = slots.same_as[static_cast<size_t>(tensor)];
    if (source >= 0) return InSample(slots, observer)(source);
    const int64_t slot = slots.slot[static_cast<size_t>(tensor)];
    return slot >= 0 ? observer.InSample(slot) : std::nullopt;
  };
}

/// Statistics of all float tensors in graph order: inputs, weights, then results as nodes write them.
RangeTable Collect(const Model& model, const GraphIndex& index, const Slots& slots, const Observer& observer,
                   const std::vector<TensorStats>& constants, const SumBounds& bounds, uint64_t samples) {
  RangeTable table;
  table.model_sha256 = model.sha256();
  table.opset = model.raised_opset();
  table.samples = samples;
  std::unordered_map<int, TensorStats> done;
  std::unordered_map<std::string, const TensorStats*> constant_of;
  for (const TensorStats& stats : constants) constant_of[stats.name] = &stats;
  for (size_t number = 0; number < index.tensors().size(); ++number) {
    const int id = static_cast<int>(number);
    const TensorInfo& tensor = index.tensor(id);
    TensorStats stats;
    if (const auto constant = constant_of.find(tensor.name); constant != constant_of.end()) {
      stats = *constant->second;
    } else if (slots.slot[number] >= 0) {
      stats = observer.Result(slots.slot[number]);
    } else if (slots.same_as[number] >= 0) {
      const auto source = done.find(slots.same_as[number]);
      if (source == done.end()) continue;
      stats = source->second;
      stats.constant = false;
      stats.row_max_min.reset();
    } else {
      continue;
    }
    stats.name = tensor.name;
    stats.dtype = tensor.dtype;
    stats.sum_bound = bounds.Of(id);
    done.emplace(id, stats);
    table.tensors.push_back(std::move(stats));
  }
  return table;
}

/// Writes the chosen tensors of each run in Polygraphy's output JSON.
class OutputRecorder {
 public:
  OutputRecorder(const GraphIndex& index, const ScanOptions& options) {
    if (options.save_outputs.empty()) return;
    std::regex wanted;
    try {
      wanted = std::regex(options.save_tensors);
    } catch (const std::regex_error& error) {
      throw BadUsage(
          fmt::format("--tensors '{}' is not a regular expression: {}", options.save_tensors, error.what()));
    }
    for (const TensorInfo& tensor : index.tensors()) {
      const bool result = tensor.kind == TensorKind::kActivation && tensor.graph == 0 && tensor.is_tensor;
      if (!result || !std::regex_search(tensor.name, wanted)) continue;
      if (chosen_.insert(tensor.name).second) in_order_.push_back(tensor.name);
    }
    if (chosen_.empty())
      throw BadUsage(fmt::format("--tensors '{}' matches no tensor", options.save_tensors));
    writer_ = std::make_unique<RecordedOutputsWriter>(options.save_outputs, "halfsafe");
  }

  bool Wants(const std::string& name) const { return chosen_.contains(name); }

  /// Makes the chosen tensors outputs.
  void Expose(onnx::GraphProto* graph) const {
    std::unordered_set<std::string> outputs;
    for (const auto& output : graph->output()) outputs.insert(output.name());
    for (const std::string& name : in_order_) {
      if (!outputs.contains(name)) graph->add_output()->set_name(name);
    }
  }

  void Add(const Session& session, const std::vector<Ort::Value>& values) {
    if (!writer_) return;
    std::vector<NamedArray> outputs;
    for (size_t i = 0; i < values.size(); ++i) {
      const std::string& name = session.output_names()[i];
      if (!chosen_.contains(name)) continue;
      for (NamedArray& array : CopyArrays(name, View(values[i], name))) outputs.push_back(std::move(array));
    }
    writer_->Add(outputs);
  }
  void Commit() {
    if (writer_) writer_->Commit();
  }

 private:
  std::unordered_set<std::string> chosen_;
  std::vector<std::string> in_order_;
  std::unique_ptr<RecordedOutputsWriter> writer_;
};

/// Copies the model's own outputs while they fit.
void Keep(const Model& model, const Session& session, const std::vector<Ort::Value>& values,
          KeptOutputs* kept) {
  if (kept == nullptr || !kept->complete) return;
  auto& outputs = kept->samples.emplace_back();
  for (int i = 0; i < model.proto().graph().output_size(); ++i) {
    const std::string& name = session.output_names()[static_cast<size_t>(i)];
    const OutputView view = View(values[static_cast<size_t>(i)], name);
    for (const TensorView& tensor : view.tensors) kept->bytes += tensor.count * DTypeSize(tensor.dtype);
    if (kept->bytes > kept->budget) {
      kept->samples.clear();
      kept->complete = false;
      return;
    }
    outputs.push_back(CopyOutput(view));
  }
}

}  // namespace

/// ONNX Runtime's highest level is faster on convolutions and holds a second copy of their weights.
constexpr uint64_t kCheapToHoldTwice = uint64_t{8} << 20;

RangeTable Scan(const Model& whole, const SampleSource& samples, const ScanOptions& options,
                Progress* progress) {
  const std::optional<Model> part = RunnablePart(whole, !options.custom_op_libraries.empty());
  const Model& model = part ? *part : whole;
  const GraphIndex& index = model.index();
  Observer observer;
  const Slots slots = ChooseSlots(index, model, &observer);
  OutputRecorder recorder(index, options);
  SessionModel session_model = ObservedModel(model, index, slots, options.optimize,
                                             [&](const std::string& name) { return recorder.Wants(name); });
  recorder.Expose(session_model.proto.mutable_graph());

  SessionOptions session_options;
  session_options.threads = options.threads;
  session_options.optimization = !options.optimize                    ? ORT_DISABLE_ALL
                                 : model.bytes() <= kCheapToHoldTwice ? ORT_ENABLE_ALL
                                                                      : ORT_ENABLE_EXTENDED;
  session_options.custom_op_libraries = options.custom_op_libraries;
  session_options.taps = &observer;
  SessionCache sessions(session_model, session_options, SameShapes(samples));

  const std::vector<TensorStats> constants = ConstantStats(model, index);
  SumBounds bounds(model, index, constants);
  const std::vector<InputSpec> inputs = model.Inputs();
  if (options.keep_outputs != nullptr) {
    RequireComparableOutputs(model);
    options.keep_outputs->complete = true;
  }
  progress->Begin("scan", samples.size());
  for (uint64_t i = 0; i < samples.size(); ++i) {
    ThrowIfInterrupted();
    const Sample sample = samples.Read(i);
    ValidateSample(sample, inputs);
    observer.BeginSample(sample.name);
    for (const NamedArray& input : sample.inputs) {
      const int id = index.FindTensor(input.name);
      if (id >= 0 && slots.slot[static_cast<size_t>(id)] >= 0)
        observer.Add(slots.slot[static_cast<size_t>(id)], input.array);
    }
    Session& session = sessions.For(sample);
    const std::vector<Ort::Value> outputs = session.Run(sample);
    bounds.EndSample(InSample(slots, observer));
    recorder.Add(session, outputs);
    Keep(model, session, outputs, options.keep_outputs);
    progress->Step();
  }
  progress->End();
  recorder.Commit();
  RangeTable ranges = Collect(model, index, slots, observer, constants, bounds, samples.size());
  std::erase_if(ranges.tensors, [](const TensorStats& stats) { return stats.name.starts_with(kTailPrefix); });
  return ranges;
}

RangeTable ScanRecorded(const Model& model, const SampleSource& recorded, Progress* progress) {
  const GraphIndex& index = model.index();
  Observer observer;
  Slots slots;
  slots.slot.assign(index.tensors().size(), -1);
  slots.same_as.assign(index.tensors().size(), -1);
  const std::vector<TensorStats> constants = ConstantStats(model, index);
  SumBounds bounds(model, index, constants);
  progress->Begin("read", recorded.size());
  for (uint64_t i = 0; i < recorded.size(); ++i) {
    ThrowIfInterrupted();
    const Sample sample = recorded.Read(i);
    observer.BeginSample(sample.name);
    bool known = false;
    for (const NamedArray& tensor : sample.inputs) {
      const int id = index.FindTensor(tensor.name);
      if (id < 0) continue;
      known = true;
      if (!IsFloat(tensor.array.dtype)) continue;
      int64_t& slot = slots.slot[static_cast<size_t>(id)];
      if (slot < 0) slot = observer.AddSlot();
      observer.Add(slot, tensor.array);
    }
    bounds.EndSample(InSample(slots, observer));
    if (!known) throw BadInput(fmt::format("{}: none of its tensors is one of the model's", sample.name));
    progress->Step();
  }
  progress->End();
  return Collect(model, index, slots, observer, constants, bounds, recorded.size());
}

RangeTable ScanConstants(const Model& model) {
  const GraphIndex& index = model.index();
  RangeTable table;
  table.model_sha256 = model.sha256();
  table.opset = model.raised_opset();
  table.tensors = ConstantStats(model, index);
  return table;
}

}  // namespace halfsafe
