#include "verify/on_device.h"

#include <algorithm>
#include <optional>

#include "data/convert.h"
#include "halfsafe/error.h"
#include "halfsafe/rewrite.h"
#include "model/lifted_samples.h"
#include "runtime/written_out.h"
#include "verify/candidate.h"

namespace halfsafe {
namespace {

/// A 16-bit model in the types that it is written in.
class NativeModel {
 public:
  NativeModel(const Model& model, const CheckOptions& options, bool same_shapes) : inputs_(model.Inputs()) {
    WeightOptions weights;
    weights.feed = Feed::kOfNone;
    model_ = MakeSessionModel(model, weights);
    SessionOptions session = SessionOptionsOf(options);
    session.provider = options.provider;
    sessions_ = std::make_unique<SessionCache>(model_, session, same_shapes);
  }

  /// Once a run fails, `errors.failure` says why and no further sample is run: a provider may lack an
  /// operator in a type, and that is a finding.
  void Run(const Sample& sample, const std::vector<std::string>& names, const RunOutputs& expected,
           const std::vector<OutputRule>& rules, const CheckOptions& options) {
    if (!errors.failure.empty()) return;
    try {
      const Sample typed = InItsTypes(sample);
      const std::vector<Ort::Value> values = sessions_->For(typed).Run(typed);
      const Judging judging{names, rules, options};
      AddDraws(judging, {CompareAll(judging, expected, Views(values, names), sample.name)}, sample.name,
               &errors);
    } catch (const Error& error) {
      if (error.code() != ExitCode::kBadInput) throw;
      errors.failure = error.what();
      errors.failure_sample = sample.name;
    }
  }

  ModelErrors errors;

 private:
  Sample InItsTypes(const Sample& sample) const {
    Sample typed = sample;
    for (NamedArray& input : typed.inputs) {
      const auto spec = std::find_if(inputs_.begin(), inputs_.end(),
                                     [&](const InputSpec& other) { return other.name == input.name; });
      if (spec != inputs_.end() && !input.sequence)
        input.array = ConvertArray(input.array, spec->dtype, input.name);
    }
    return typed;
  }

  std::vector<InputSpec> inputs_;
  SessionModel model_;
  std::unique_ptr<SessionCache> sessions_;
};

}  // namespace

void CheckOnDevice(const Model& whole_original, const Model& whole_fixed, const SampleSource& given_samples,
                   const CheckOptions& options, Progress* progress, CheckResult* result) {
  const LiftedSamples lifted_samples(whole_original.Lifted(), given_samples, progress);
  const SampleSource& samples = lifted_samples.source();
  const Model& whole = ReferenceOf(whole_original, options);
  const bool custom_ops = !options.custom_op_libraries.empty();
  const std::optional<Model> part = RunnableForm(whole, custom_ops, Types::kItsOwn),
                             fixed_part = RunnableForm(whole_fixed, custom_ops, Types::kItsOwn);
  const Model& original = part ? *part : whole;
  const bool same_shapes = SameShapes(samples);
  Reference reference(original, options, same_shapes);
  NativeModel fixed(fixed_part ? *fixed_part : whole_fixed, options, same_shapes);
  reference.RoundAs(whole, whole_fixed);
  std::optional<Model> plain_model;
  std::optional<NativeModel> plain;
  if (options.plain) {
    const Model* stored = whole.AsStored();
    plain_model = stored != nullptr ? RunnableForm(*stored, custom_ops, Types::kItsOwn)
                                    : Apply(original, PlainFp16Plan(original));
    plain.emplace(plain_model ? *plain_model : *stored, options, same_shapes);
  }
  progress->Begin("check on the GPU", samples.size());
  for (uint64_t i = 0; i < samples.size(); ++i) {
    ThrowIfInterrupted();
    const Sample sample = samples.Read(i);
    const RunOutputs expected = reference.Run(i, sample);
    fixed.Run(sample, reference.names(), expected, reference.rules(), options);
    if (plain) plain->Run(sample, reference.names(), expected, reference.rules(), options);
    progress->Step();
  }
  progress->End();
  Conclude(&fixed.errors);
  if (plain) Conclude(&plain->errors);
  DeviceErrors device;
  device.fixed = std::move(fixed.errors);
  if (plain) device.plain = std::move(plain->errors);
  result->device = std::move(device);
}

}  // namespace halfsafe
