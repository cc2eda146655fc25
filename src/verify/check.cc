#include "halfsafe/check.h"

#include <fmt/format.h>

#include <algorithm>
#include <future>

#include <onnx/onnx_pb.h>

#include "halfsafe/error.h"
#include "halfsafe/rewrite.h"
#include "model/runnable.h"
#include "runtime/provider.h"
#include "verify/candidate.h"
#include "verify/on_device.h"

namespace halfsafe {
namespace {

/// Writes one model's outputs per sample.
class Recorder {
 public:
  Recorder(const std::string& folder, const char* model) {
    if (folder.empty()) return;
    std::error_code error;
    std::filesystem::create_directories(folder, error);
    if (error) throw BadInput(fmt::format("cannot create folder {}: {}", folder, error.message()));
    writer_ = std::make_unique<RecordedOutputsWriter>(std::filesystem::path(folder) / model, model);
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
  scan.custom_op_libraries = options.custom_op_libraries;
  return Scan(original, samples, scan, &silent);
}

/// Plain FP16, unless the fixed model is just that: then its results serve for both.
std::optional<Model> PlainModel(const Model& original, const Model& fixed, const CheckOptions& options,
                                bool* same) {
  *same = false;
  if (!options.plain) return std::nullopt;
  Model plain = Apply(original, PlainFp16Plan(original));
  *same = plain.proto().ByteSizeLong() == fixed.proto().ByteSizeLong() &&
          plain.proto().SerializeAsString() == fixed.proto().SerializeAsString();
  if (*same) return std::nullopt;
  return plain;
}

}  // namespace

double ModelErrors::WorstRelL2() const {
  double worst = 0.0;
  for (const OutputError& output : outputs) worst = std::max(worst, output.rel_l2);
  return worst;
}

CheckResult Check(const Model& whole_original, const Model& whole_fixed, const SampleSource& samples,
                  const CheckOptions& options, Progress* progress) {
  RequireProvider(options.provider);
  const Model& whole = ReferenceOf(whole_original, options);
  const bool custom_ops = !options.custom_op_libraries.empty();
  const std::optional<Model> part = RunnablePart(whole, custom_ops),
                             fixed_part = RunnablePart(whole_fixed, custom_ops);
  const Model& original = part ? *part : whole;
  const Model& fixed = fixed_part ? *fixed_part : whole_fixed;
  RequireSameInterface(original, fixed);
  const bool same_shapes = SameShapes(samples);
  const std::vector<InputSpec> inputs = original.Inputs();
  bool plain_is_fixed = false;
  const std::optional<Model> plain_model = PlainModel(original, fixed, options, &plain_is_fixed);
  Reference reference(original, options, same_shapes);
  WidenedWeights weights;
  std::optional<Candidate> plain;
  const bool at_once = plain_model && ServesTwoSessions(options.threads);
  if (plain_model) plain.emplace(*plain_model, options, same_shapes, at_once, &weights);
  Candidate candidate(fixed, options, same_shapes, at_once, &weights);
  Recorder save_reference(options.save_outputs, "fp32");
  Recorder save_plain(options.plain ? options.save_outputs : "", "fp16");
  Recorder save_fixed(options.save_outputs, "fixed");

  progress->Begin("check", samples.size());
  for (uint64_t i = 0; i < samples.size(); ++i) {
    ThrowIfInterrupted();
    const Sample sample = samples.Read(i);
    ValidateSample(sample, inputs);
    const RunOutputs expected = reference.Run(i, sample);
    save_reference.Add(reference.names(), expected);
    const auto compare = [&](Candidate* other, Recorder* recorder) {
      const std::optional<RunOutputs> outputs = other->Run(sample);
      if (!outputs) return;
      other->Compare(reference.names(), expected, *outputs, options.tolerance);
      recorder->Add(reference.names(), *outputs);
      if (plain_is_fixed) save_plain.Add(reference.names(), *outputs);
    };
    std::future<void> beside;
    if (at_once) {
      beside = std::async(std::launch::async, [&] { compare(&*plain, &save_plain); });
    } else if (plain) {
      compare(&*plain, &save_plain);
    }
    compare(&candidate, &save_fixed);
    if (at_once) beside.get();
    progress->Step();
  }
  progress->End();
  save_reference.Commit();
  save_plain.Commit();
  save_fixed.Commit();

  const bool blame = candidate.AnyNonFinite() || (plain && plain->AnyNonFinite());
  const std::optional<RangeTable> scanned = RangesForBlame(original, samples, options, blame);
  const RangeTable* ranges = options.ranges != nullptr ? options.ranges : scanned ? &*scanned : nullptr;
  const auto finite_before = [&](const std::string& name, bool nan) {
    const TensorStats* stats = ranges == nullptr ? nullptr : ranges->Find(name);
    if (stats == nullptr && ranges != nullptr) stats = ranges->Find(OriginalName(name));
    return stats == nullptr || (nan ? stats->nan_count == 0 : stats->inf_count == 0);
  };
  candidate.Finish(finite_before);
  if (plain) plain->Finish(finite_before);
  CheckResult result;
  result.samples = samples.size();
  result.fixed = std::move(candidate.errors);
  if (plain) result.plain = std::move(plain->errors);
  if (plain_is_fixed) result.plain = result.fixed;
  if (options.provider != Provider::kCpu)
    CheckOnDevice(whole_original, whole_fixed, samples, options, progress, &result);
  return result;
}

}  // namespace halfsafe
