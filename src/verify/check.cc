#include "halfsafe/check.h"

#include <fmt/format.h>

#include <algorithm>

#include "halfsafe/error.h"
#include "halfsafe/rewrite.h"
#include "runtime/session_cache.h"
#include "verify/compare.h"
#include "verify/emulate.h"

namespace halfsafe {
namespace {

/// One model under emulation, beside the reference.
class Candidate {
 public:
  Candidate(const Model& model, const CheckOptions& options, bool same_shapes)
      : model_(model), inputs_(model.Inputs()), session_model_(EmulateHalf(model, &rounder_)) {
    SessionOptions session;
    session.threads = options.threads;
    session.custom_op_libraries = options.custom_op_libraries;
    session.taps = &rounder_;
    sessions_ = std::make_unique<SessionCache>(session_model_, session, same_shapes);
  }

  std::vector<Ort::Value> Run(const Sample& sample) {
    rounder_.BeginSample(sample.name);
    const Sample emulated = EmulatedInputs(sample, inputs_);
    return sessions_->For(emulated).Run(emulated);
  }

  void Compare(const std::vector<std::string>& names, const std::vector<Ort::Value>& reference,
               const std::vector<Ort::Value>& outputs, const Sample& sample, const Tolerance& tolerance) {
    errors.outputs.resize(names.size());
    for (size_t i = 0; i < names.size(); ++i) {
      errors.outputs[i].name = names[i];
      CompareOutput(View(reference[i], names[i]), View(outputs[i], names[i]), sample.name, tolerance, &errors.outputs[i]);
    }
  }

  /// Completes `errors`. `finite_before` tells whether FP32 shows infinite (or NaN) values in a tensor.
  void Finish(const std::function<bool(const std::string&, bool nan)>& finite_before) {
    for (const OutputError& output : errors.outputs) {
      errors.right = errors.right && output.right;
      if (output.new_nonfinite > 0) errors.nonfinite_outputs.push_back(output.name);
    }
    const GraphIndex index(model_);
    for (const RoundedTensor& tensor : rounder_.tensors) {
      const auto report = [&](const std::string& sample, bool nan, std::optional<FirstNonFinite>* first) {
        if (sample.empty() || first->has_value() || !finite_before(tensor.name, nan)) return;
        const NodeInfo& node = index.node(index.tensor(index.FindTensor(tensor.name)).producer);
        *first = FirstNonFinite{tensor.name, node.name, node.proto->op_type(), sample};
      };
      report(tensor.inf_sample, false, &errors.first_inf);
      report(tensor.nan_sample, true, &errors.first_nan);
    }
  }

  /// The first sample with any value that is not finite; empty when there is none.
  std::string FirstBadSample() const {
    for (const RoundedTensor& tensor : rounder_.tensors) {
      if (!tensor.inf_sample.empty()) return tensor.inf_sample;
      if (!tensor.nan_sample.empty()) return tensor.nan_sample;
    }
    return "";
  }

  ModelErrors errors;

 private:
  const Model& model_;
  std::vector<InputSpec> inputs_;
  Rounder rounder_;
  SessionModel session_model_;
  std::unique_ptr<SessionCache> sessions_;
};

/// Writes one model's outputs per sample.
class Recorder {
 public:
  Recorder(const std::string& folder, const char* model) {
    if (!folder.empty()) writer_ = std::make_unique<RecordedOutputsWriter>(std::filesystem::path(folder) / model, model);
  }
  void Add(const std::vector<std::string>& names, const std::vector<Ort::Value>& values) {
    if (!writer_) return;
    std::vector<NamedArray> outputs;
    for (size_t i = 0; i < names.size(); ++i) {
      const OutputView view = View(values[i], names[i]);
      const auto* bytes = static_cast<const std::byte*>(view.data);
      outputs.push_back({names[i], {view.dtype, view.shape, {bytes, bytes + view.count * DTypeSize(view.dtype)}}});
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
  const auto expected = outputs(original), found = outputs(fixed);
  if (expected != found) {
    throw BadInput(fmt::format("{} has outputs {}, {} has {}: they are not the same model", original.path().string(),
                               fmt::join(expected, ", "), fixed.path().string(), fmt::join(found, ", ")));
  }
  const auto inputs = original.Inputs(), others = fixed.Inputs();
  const bool same = std::equal(inputs.begin(), inputs.end(), others.begin(), others.end(),
                               [](const InputSpec& a, const InputSpec& b) { return a.name == b.name; });
  if (!same) throw BadInput(fmt::format("{} and {} have different inputs: they are not the same model", original.path().string(),
                                        fixed.path().string()));
}

/// Ranges of the original on the samples where a candidate left the finite numbers, to tell new infinities from old.
std::optional<RangeTable> RangesOfBadSamples(const Model& original, const SampleSource& samples, const CheckOptions& options,
                                             const std::vector<std::string>& bad) {
  if (options.ranges != nullptr || bad.empty()) return std::nullopt;
  Progress silent;
  ScanOptions scan;
  scan.threads = options.threads;
  scan.custom_op_libraries = options.custom_op_libraries;
  return Scan(original, *EverySample(samples, 0, 1), scan, &silent);
}

}  // namespace

double ModelErrors::WorstRelL2() const {
  double worst = 0.0;
  for (const OutputError& output : outputs) worst = std::max(worst, output.rel_l2);
  return worst;
}

CheckResult Check(const Model& original, const Model& fixed, const SampleSource& samples, const CheckOptions& options,
                  Progress* progress) {
  RequireSameInterface(original, fixed);
  const bool same_shapes = SameShapes(samples);
  const std::vector<InputSpec> inputs = original.Inputs();
  const SessionModel reference_model = MakeSessionModel(original);
  SessionOptions reference_options;
  reference_options.threads = options.threads;
  reference_options.custom_op_libraries = options.custom_op_libraries;
  SessionCache references(reference_model, reference_options, same_shapes);
  std::optional<Model> plain_model;
  std::optional<Candidate> plain;
  if (options.plain) {
    plain_model.emplace(Apply(original, PlainFp16Plan(original)));
    plain.emplace(*plain_model, options, same_shapes);
  }
  Candidate candidate(fixed, options, same_shapes);
  Recorder save_reference(options.save_outputs, "fp32");
  Recorder save_plain(options.plain ? options.save_outputs : "", "fp16");
  Recorder save_fixed(options.save_outputs, "fixed");

  progress->Begin("check", samples.size());
  for (uint64_t i = 0; i < samples.size(); ++i) {
    ThrowIfInterrupted();
    const Sample sample = samples.Read(i);
    ValidateSample(sample, inputs);
    Session& reference = references.For(sample);
    const auto& names = reference.output_names();
    const auto expected = reference.Run(sample);
    save_reference.Add(names, expected);
    const auto compare = [&](Candidate* other, Recorder* recorder) {
      const auto outputs = other->Run(sample);
      other->Compare(names, expected, outputs, sample, options.tolerance);
      recorder->Add(names, outputs);
    };
    if (plain) compare(&*plain, &save_plain);
    compare(&candidate, &save_fixed);
    progress->Step();
  }
  progress->End();
  save_reference.Commit();
  save_plain.Commit();
  save_fixed.Commit();

  std::vector<std::string> bad;
  for (const std::string& name : {candidate.FirstBadSample(), plain ? plain->FirstBadSample() : std::string()}) {
    if (!name.empty()) bad.push_back(name);
  }
  const std::optional<RangeTable> scanned = RangesOfBadSamples(original, samples, options, bad);
  const RangeTable* ranges = options.ranges != nullptr ? options.ranges : scanned ? &*scanned : nullptr;
  const auto finite_before = [&](const std::string& name, bool nan) {
    const TensorStats* stats = ranges == nullptr ? nullptr : ranges->Find(name);
    return stats == nullptr || (nan ? stats->nan_count == 0 : stats->inf_count == 0);
  };
  candidate.Finish(finite_before);
  if (plain) plain->Finish(finite_before);
  CheckResult result;
  result.samples = samples.size();
  result.fixed = std::move(candidate.errors);
  if (plain) result.plain = std::move(plain->errors);
  return result;
}

}  // namespace halfsafe
