#include <fmt/format.h>

#include <algorithm>
#include <unordered_map>

#include "data/read_ahead.h"
#include "halfsafe/error.h"
#include "halfsafe/ranges.h"
#include "model/graph_index.h"
#include "model/lifted_samples.h"
#include "observe/chains.h"
#include "observe/checkpoint.h"
#include "observe/constants.h"
#include "observe/observed_model.h"
#include "observe/observer.h"
#include "observe/output_recorder.h"
#include "observe/sum_bound.h"
#include "runtime/session_cache.h"
#include "runtime/written_out.h"

namespace halfsafe {
namespace {

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
  table.lift_clamps = model.lifts_clamps();
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

/// Copies the model's own outputs while they fit.
void Keep(const Model& model, const Session& session, const std::vector<Ort::Value>& values,
          KeptOutputs* kept) {
  if (kept == nullptr || !kept->complete) return;
  auto& outputs = kept->samples.emplace_back();
  for (int i = 0; i < model.proto().graph().output_size(); ++i) {
    const std::string& name = session.output_names()[static_cast<size_t>(i)];
    const OutputView view = View(values[static_cast<size_t>(i)], name);
    for (const TensorView& tensor : view.tensors) kept->bytes += tensor.size;
    if (kept->bytes > kept->budget) {
      kept->samples.clear();
      kept->complete = false;
      return;
    }
    outputs.push_back(CopyOutput(view));
  }
}

SessionOptions SessionOptionsOf(const ScanOptions& options, Observer* observer) {
  SessionOptions session;
  session.provider = options.provider;
  session.threads = options.threads;
  session.optimization = options.optimize ? ORT_ENABLE_ALL : ORT_DISABLE_ALL;
  session.custom_op_libraries = options.custom_op_libraries;
  session.taps = observer;
  return session;
}

/// Chains are for caches of a CPU.
bool Chains(const ScanOptions& options) { return options.optimize && options.provider == Provider::kCpu; }

Feed FeedOf(const ScanOptions& options) {
  if (options.provider != Provider::kCpu) return Feed::kOfNone;
  return options.low_memory ? Feed::kOfAll : Feed::kOfLargeModels;
}

/// A model that runs samples while its tensors are observed.
class ObservedRun {
 public:
  /// `model` is what runs of `whole`.
  ObservedRun(const Model& whole, const Model& model, const ScanOptions& options, bool same_shapes)
      : whole_(whole),
        model_(model),
        options_(options),
        inputs_(model.Inputs()),
        slots_(ChooseSlots(model.index(), model, &observer_)),
        recorder_(model.index(), options),
        session_model_(ObservedModel(model, model.index(), slots_, Chains(options), FeedOf(options),
                                     [&](const std::string& name) { return recorder_.Wants(name); })),
        sessions_(session_model_, SessionOptionsOf(options, &observer_), same_shapes),
        constants_(ConstantStats(model, model.index())),
        bounds_(model, model.index(), constants_) {
    if (options.provider != Provider::kCpu) observer_.UseDevice(OpenDeviceStats(observer_.slots()));
    recorder_.Expose(session_model_.proto.mutable_graph());
    if (options.keep_outputs == nullptr) return;
    RequireComparableOutputs(model);
    options.keep_outputs->complete = true;
  }

  /// Of a sample that fails nothing counts.
  void Run(Sample sample) {
    sample_ = std::move(sample);
    ValidateSample(sample_, inputs_, options_.allow_nan);
    observer_.BeginSample(sample_.name);
    for (const NamedArray& input : sample_.inputs) {
      const int id = model_.index().FindTensor(input.name);
      const int64_t slot = id < 0 ? -1 : slots_.slot[static_cast<size_t>(id)];
      if (slot >= 0 && !input.sequence) observer_.Add(slot, input.array);
    }
    session_ = &sessions_.For(sample_);
    try {
      outputs_ = session_->Run(sample_);
    } catch (const Error&) {
      observer_.RethrowDeviceFailure();
      throw;
    }
    observer_.Gather();
    bounds_.EndSample(InSample(slots_, observer_));
    observer_.EndSample();
    ++samples_;
  }

  /// Hands on what the last run gave out.
  void Record() {
    recorder_.Add(*session_, outputs_);
    Keep(model_, *session_, outputs_, options_.keep_outputs);
    outputs_.clear();
  }
  void CommitRecorded() { recorder_.Commit(); }

  RangeTable Table() const {
    RangeTable table = Collect(model_, model_.index(), slots_, observer_, constants_, bounds_, samples_);
    if (&whole_ == &model_) return table;
    std::erase_if(table.tensors,
                  [&](const TensorStats& stats) { return whole_.index().FindTensor(stats.name) < 0; });
    return table;
  }

 private:
  const Model& whole_;
  const Model& model_;
  const ScanOptions& options_;
  std::vector<InputSpec> inputs_;
  Observer observer_;
  Slots slots_;
  OutputRecorder recorder_;
  SessionModel session_model_;
  SessionCache sessions_;
  std::vector<TensorStats> constants_;
  SumBounds bounds_;
  Session* session_ = nullptr;  ///< Of the last run.
  Sample sample_;               ///< Of the last run: an output may be one of its inputs.
  std::vector<Ort::Value> outputs_;
  uint64_t samples_ = 0;
};

/// Runs the samples that the checkpoint doesn't have, and keeps it up to date, also when it ends early.
RangeTable ScanSamples(ObservedRun* run, const SampleSource& samples, const ScanOptions& options,
                       Checkpoint* checkpoint, Progress* progress) {
  std::vector<SkippedSample> skipped;
  const auto table = [&] {
    RangeTable now = run->Table();
    now.skipped = skipped;
    std::ranges::sort(now.skipped, {}, &SkippedSample::name);
    return checkpoint->Join(std::move(now));
  };
  uint64_t done = checkpoint->done();
  ReadAhead reader(samples, done);
  try {
    for (; done < samples.size(); ++done) {
      ThrowIfInterrupted();
      bool good = true;
      try {
        run->Run(reader.Next());
      } catch (const Error& error) {
        if (!options.skip_bad_samples || error.code() != ExitCode::kBadInput) throw;
        good = false;
        skipped.push_back({samples.Name(done), error.what()});
      }
      if (good) run->Record();
      checkpoint->Update(done + 1, table);
      progress->Step();
    }
  } catch (...) {
    checkpoint->Save(done, table);
    throw;
  }
  checkpoint->Save(done, table);
  return table();
}

}  // namespace

RangeTable Scan(const Model& given, const SampleSource& given_samples, const ScanOptions& options,
                Progress* progress) {
  if (!options.checkpoint.empty() && !options.save_outputs.empty())
    throw BadUsage(
        "--save-outputs writes every sample of one run: a scan with --checkpoint may take several");
  const Model& whole = given.Lifted();
  const LiftedSamples lifted_samples(whole, given_samples, progress);
  const SampleSource& samples = lifted_samples.source();
  const std::optional<Model> part = RunnableForm(whole, !options.custom_op_libraries.empty(), Types::kItsOwn);
  const Model& model = part ? *part : whole;
  Checkpoint checkpoint(options, model, samples);
  ObservedRun run(whole, model, options, SameShapes(samples));
  progress->Begin("scan", samples.size() - checkpoint.done());
  RangeTable ranges = ScanSamples(&run, samples, options, &checkpoint, progress);
  progress->End();
  run.CommitRecorded();
  return ranges;
}

RangeTable ScanRecorded(const Model& given, const SampleSource& recorded, Progress* progress) {
  const Model& model = given.Lifted();
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
    if (!known) throw BadInput(fmt::format("{}: none of its tensors is one of the model's", sample.name));
    bounds.EndSample(InSample(slots, observer));
    observer.EndSample();
    progress->Step();
  }
  progress->End();
  return Collect(model, index, slots, observer, constants, bounds, recorded.size());
}

RangeTable ScanConstants(const Model& given) {
  const Model& model = given.Lifted();
  const GraphIndex& index = model.index();
  RangeTable table;
  table.model_sha256 = model.sha256();
  table.opset = model.raised_opset();
  table.lift_clamps = model.lifts_clamps();
  table.tensors = ConstantStats(model, index);
  return table;
}

}  // namespace halfsafe
