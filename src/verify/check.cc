#include "halfsafe/check.h"

#include <fmt/format.h>

#include <algorithm>
#include <future>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include <onnx/onnx_pb.h>

#include "data/folder.h"
#include "halfsafe/error.h"
#include "halfsafe/rewrite.h"
#include "model/lifted_samples.h"
#include "model/walk.h"
#include "runtime/provider.h"
#include "runtime/written_out.h"
#include "verify/candidate.h"
#include "verify/finite_before.h"
#include "verify/load_check.h"
#include "verify/on_device.h"

namespace halfsafe {
namespace {

/// Writes one model's outputs per sample, in a folder of its own inside `folder`, if there is one.
class Recorder {
 public:
  Recorder(const std::optional<AtomicFolder>& folder, const char* model, bool wanted = true) {
    if (folder && wanted)
      writer_ = std::make_unique<RecordedOutputsWriter>(folder->temporary() / model, model);
  }
  void Add(const std::vector<std::string>& names, const RunOutputs& run) {
    if (!writer_) return;
    std::vector<NamedArray> outputs;
    for (size_t i = 0; i < names.size(); ++i) {
      for (NamedArray& array : CopyArrays(names[i], run.views[i])) outputs.push_back(std::move(array));
    }
    writer_->Add(outputs);
  }
  void Commit() {
    if (writer_) writer_->Commit();
  }

 private:
  std::unique_ptr<RecordedOutputsWriter> writer_;
};

void RequireSameInterface(const Model& original, const Model& fixed) {
  const auto outputs = [](const Model& model) {
    std::vector<std::string> names;
    for (const auto& output : model.proto().graph().output()) names.push_back(output.name());
    return names;
  };
  RequireComparableOutputs(original);
  const auto expected = outputs(original), found = outputs(fixed);
  if (expected != found) {
    throw BadInput(fmt::format("{} has outputs {}, {} has {}: they are not the same model",
                               original.path().string(), fmt::join(expected, ", "), fixed.path().string(),
                               fmt::join(found, ", ")));
  }
  const auto inputs = original.Inputs(), others = fixed.Inputs();
  const bool same = std::equal(inputs.begin(), inputs.end(), others.begin(), others.end(),
                               [](const InputSpec& a, const InputSpec& b) { return a.name == b.name; });
  if (!same) {
    throw BadInput(fmt::format("{} and {} have different inputs: they are not the same model",
                               original.path().string(), fixed.path().string()));
  }
}

/// Ranges of the original where the caller has none: they tell new infinities from those that FP32 has too.
std::optional<RangeTable> RangesForBlame(const Model& original, const SampleSource& samples,
                                         const CheckOptions& options, bool needed) {
  if (options.ranges != nullptr || !needed) return std::nullopt;
  Progress silent;
  ScanOptions scan;
  scan.threads = options.threads;
  scan.low_memory = options.low_memory;
  scan.allow_nan = options.allow_nan;
  scan.custom_op_libraries = options.custom_op_libraries;
  return Scan(original, samples, scan, &silent);
}

/// What a model computes, but for the data of its tensors, as text.
std::string WithoutData(const Model& model) {
  onnx::ModelProto proto = WithoutLargeTensors(model.proto(), 0);
  for (onnx::GraphProto* graph : AllGraphs(proto.mutable_graph())) {
    for (auto& node : *graph->mutable_node()) node.clear_metadata_props();
  }
  ForEachMutableTensorConstant(proto.mutable_graph(), [](onnx::TensorProto* tensor) {
    tensor->clear_external_data();
    tensor->clear_data_location();
  });
  return proto.SerializeAsString();
}

/// Whether two models are the same, wherever the data of their tensors lies.
bool SameContent(const Model& one, const Model& other) {
  if (WithoutData(one) != WithoutData(other)) return false;
  std::vector<const onnx::TensorProto*> tensors;
  ForEachTensorConstant(one.proto().graph(), [&](const auto& tensor) { tensors.push_back(&tensor); });
  bool same = true;
  auto next = tensors.begin();
  ForEachTensorConstant(other.proto().graph(), [&](const onnx::TensorProto& tensor) {
    const onnx::TensorProto& twin = **next++;
    if (!same) return;
    const TensorBytes a = one.RawBytes(twin), b = other.RawBytes(tensor);
    same = std::ranges::equal(a.bytes, b.bytes);
    one.Forget(twin);
    other.Forget(tensor);
  });
  return same;
}

/// What the fixed model is an alternative to.
struct PlainModel {
  std::optional<Model> made;     ///< Where it is no other model's.
  const Model* model = nullptr;  ///< Null where it is not asked for, or the same as the fixed model.
  bool is_fixed = false;         ///< Its results are the fixed model's.
};

/// Plain FP16 of `original`, which is what runs of `whole`; or the file as it is, where that has 16-bit
/// tensors of its own.
PlainModel MakePlain(const Model& whole, const Model& original, const Model& fixed,
                     const CheckOptions& options) {
  PlainModel plain;
  if (!options.plain) return plain;
  if (const Model* stored = whole.AsStored()) {
    plain.made = RunnableForm(*stored, !options.custom_op_libraries.empty(), Types::kEmulated);
    plain.model = stored;
  } else {
    plain.made = Apply(original, PlainFp16Plan(original));
  }
  plain.is_fixed = SameContent(plain.made ? *plain.made : *plain.model, fixed);
  if (plain.is_fixed) plain.made.reset();
  return plain;
}

/// A model that is compared, and where its outputs are written.
struct Entrant {
  const char* name;
  const Model* model;
  std::vector<Recorder*> recorders;
  bool draws = false;   ///< Whether it is judged under several roundings near the tolerance.
  bool ranges = false;  ///< Whether its tensors' ranges are wanted.
  std::unique_ptr<Candidate> candidate = nullptr;
};

/// Takes models through the samples.
class Course {
 public:
  /// `recorder` gets the reference's outputs.
  Course(const Model& original, const SampleSource& samples, const CheckOptions& options, bool same_shapes,
         Reference* reference, Recorder* recorder, Progress* progress)
      : samples_(samples),
        inputs_(original.Inputs()),
        options_(options),
        same_shapes_(same_shapes),
        reference_(*reference),
        recorder_(*recorder),
        progress_(*progress) {}

  /// Takes the entrants through the samples side by side, `at_once` or one after the other. At the end their
  /// weights are gone.
  void Run(const std::string& stage, std::span<Entrant> entrants, bool at_once) {
    WidenedWeights shared;
    for (Entrant& entrant : entrants) {
      entrant.candidate =
          std::make_unique<Candidate>(*entrant.model, options_, same_shapes_, at_once,
                                      entrants.size() > 1 ? &shared : nullptr, entrant.ranges);
    }
    progress_.Begin(stage, samples_.size());
    for (uint64_t i = 0; i < samples_.size(); ++i) {
      ThrowIfInterrupted();
      const Sample sample = samples_.Read(i);
      ValidateSample(sample, inputs_, options_.allow_nan);
      const std::shared_future<RunOutputs> expected = std::async(
          at_once ? std::launch::async : std::launch::deferred, [&] { return reference_.Run(i, sample); });
      if (!at_once) expected.wait();
      std::vector<std::future<void>> others;  // Ends those that still run where one throws.
      for (Entrant& entrant : entrants.first(entrants.size() - 1)) {
        const auto run = [&] { RunOne(&entrant, sample, expected); };
        if (at_once) {
          others.push_back(std::async(std::launch::async, run));
        } else {
          run();
        }
      }
      RunOne(&entrants.back(), sample, expected);
      for (auto& other : others) other.get();
      if (!recorded_) recorder_.Add(reference_.names(), expected.get());
      progress_.Step();
    }
    recorded_ = true;
    progress_.End();
    for (Entrant& entrant : entrants) entrant.candidate->Close();
  }

 private:
  void RunOne(Entrant* entrant, const Sample& sample, const std::shared_future<RunOutputs>& expected) {
    const std::optional<RunOutputs> outputs = entrant->candidate->Run(sample);
    if (!outputs) return;
    const Judging judging{reference_.names(), reference_.rules(), options_};
    entrant->candidate->Compare(judging, expected.get(), *outputs, sample, entrant->draws);
    for (Recorder* recorder : entrant->recorders) recorder->Add(reference_.names(), *outputs);
  }

  const SampleSource& samples_;
  const std::vector<InputSpec> inputs_;
  const CheckOptions& options_;
  const bool same_shapes_;
  Reference& reference_;
  Recorder& recorder_;
  bool recorded_ = false;  ///< The reference's outputs.
  Progress& progress_;
};

/// Completes what candidates found with whether FP32 was finite there.
void Blame(const Model& original, const SampleSource& samples, const CheckOptions& options,
           std::span<Entrant> entrants) {
  const bool needed = std::any_of(entrants.begin(), entrants.end(),
                                  [](const Entrant& entrant) { return entrant.candidate->AnyNonFinite(); });
  const std::optional<RangeTable> scanned = RangesForBlame(original, samples, options, needed);
  const RangeTable* ranges = options.ranges != nullptr ? options.ranges : scanned ? &*scanned : nullptr;
  const auto finite_before = [&](const std::string& name, bool nan) {
    return FiniteBefore(ranges, name, nan);
  };
  for (Entrant& entrant : entrants) entrant.candidate->Finish(finite_before);
}

}  // namespace

double ModelErrors::WorstRelL2() const {
  double worst = 0.0;
  for (const OutputError& output : outputs) worst = std::max(worst, output.rel_l2);
  return worst;
}

CheckResult Check(const Model& whole_original, const Model& whole_fixed, const SampleSource& given_samples,
                  const CheckOptions& options, Progress* progress) {
  RequireProvider(options.provider);
  const LiftedSamples lifted_samples(whole_original.Lifted(), given_samples, progress);
  const SampleSource& samples = lifted_samples.source();
  const Model& whole = ReferenceOf(whole_original, options);
  const bool custom_ops = !options.custom_op_libraries.empty();
  const std::optional<Model> part = RunnableForm(whole, custom_ops, Types::kItsOwn),
                             fixed_part = RunnableForm(whole_fixed, custom_ops, Types::kEmulated);
  const Model& original = part ? *part : whole;
  const Model& fixed = fixed_part ? *fixed_part : whole_fixed;
  RequireSameInterface(original, fixed);
  const bool same_shapes = SameShapes(samples);
  const PlainModel plain = MakePlain(whole, original, fixed, options);
  const Model* plain_model = plain.is_fixed ? nullptr : plain.made ? &*plain.made : plain.model;
  std::optional<MissingFolders> parents;
  std::optional<AtomicFolder> folder;
  if (!options.save_outputs.empty()) {
    parents.emplace(std::filesystem::path(options.save_outputs).parent_path());
    folder.emplace(options.save_outputs);
  }
  Recorder save_reference(folder, "fp32");
  Recorder save_plain(folder, "fp16", options.plain);
  Recorder save_fixed(folder, "fixed");
  std::vector<Entrant> entrants;
  if (plain_model != nullptr) entrants.push_back({"fp16", plain_model, {&save_plain}});
  entrants.push_back({"fixed", &fixed, {&save_fixed}, true, options.fixed_ranges});
  if (plain.is_fixed) entrants.back().recorders.push_back(&save_plain);

  const bool one_at_a_time = OneAtATime(original, options);
  const bool at_once = !one_at_a_time && entrants.size() > 1 && ServesTwoSessions(options.threads);
  Reference reference(original, options, same_shapes, at_once);
  reference.RoundAs(whole, fixed);
  reference.RunAhead(samples, options, progress);
  Course course(original, samples, options, same_shapes, &reference, &save_reference, progress);
  if (one_at_a_time) {
    for (Entrant& entrant : entrants)
      course.Run(fmt::format("check {}", entrant.name), std::span(&entrant, 1), false);
  } else {
    course.Run("check", entrants, at_once);
  }
  save_reference.Commit();
  save_plain.Commit();
  save_fixed.Commit();
  if (folder) folder->Commit();

  Blame(original, samples, options, entrants);
  CheckResult result;
  result.samples = samples.size();
  result.rules = reference.rules();
  result.fixed_ranges = entrants.back().candidate->Ranges();
  result.fixed = std::move(entrants.back().candidate->errors);
  if (plain_model != nullptr) result.plain = std::move(entrants.front().candidate->errors);
  if (plain.is_fixed) result.plain = result.fixed;
  result.outputs_past_type = reference.PastType();
  result.plain_as_stored = whole.AsStored() != nullptr;
  if (options.on_cpu) result.on_cpu = RunOnCpu(whole_fixed, samples, options);
  if (options.provider != Provider::kCpu) {
    CheckOptions there = options;
    there.rules = &result.rules;
    CheckOnDevice(whole_original, whole_fixed, samples, there, progress, &result);
  }
  return result;
}

CheckResult CheckAgainstKept(const Model& given, const Model& fixed, const SampleSource& given_samples,
                             CheckOptions* options, Progress* progress) {
  const Model& original = given.Lifted();
  const LiftedSamples lifted_samples(original, given_samples, progress);
  const SampleSource& samples = lifted_samples.source();
  CheckResult result = Check(original, fixed, samples, *options, progress);
  if (result.Right() || KeptOf(*options) == nullptr) return result;
  CheckOptions itself = *options;
  itself.plain = itself.per_sample = itself.fixed_ranges = itself.on_cpu = false;
  itself.provider = Provider::kCpu;
  Progress silent;
  for (const bool beside_another : {false, true}) {
    if (beside_another && !ServesTwoSessions(options->threads)) break;
    itself.threads = ThreadsOf(SessionOptionsOf(*options, beside_another));
    if (Check(original, original, samples, itself, &silent).fixed.right) continue;
    options->kept_outputs = nullptr;
    return Check(original, fixed, samples, *options, progress);
  }
  return result;
}

}  // namespace halfsafe
