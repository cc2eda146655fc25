#include "verify/candidate.h"

#include <algorithm>
#include <cmath>
#include <span>

#include "data/read_ahead.h"
#include "halfsafe/error.h"
#include "halfsafe/half.h"
#include "model/lift.h"
#include "verify/compare.h"
#include "verify/draws.h"
#include "verify/output_rules.h"

namespace halfsafe {
namespace {

/// Standard errors by which a verdict has to be clear before all draws are made: one in four hundred is
/// wrong.
constexpr double kSure = 3.0;
/// Bytes of outputs that a temporary file holds; more are computed twice.
constexpr uint64_t kMostStored = uint64_t{4} << 30;

}  // namespace

std::vector<OutputView> Views(const std::vector<Ort::Value>& values, const std::vector<std::string>& names) {
  std::vector<OutputView> views;
  for (size_t i = 0; i < values.size(); ++i) views.push_back(View(values[i], names[i]));
  return views;
}

namespace {

std::vector<std::string> OutputNames(const Model& model) {
  std::vector<std::string> names;
  for (const auto& output : model.proto().graph().output()) names.push_back(output.name());
  return names;
}

/// Rounds values to a 16-bit type, but for those that it would make infinite, and says whether there are any.
bool RoundWithinRange(std::span<float> values, DType dtype) {
  bool past = false;
  for (float& value : values) {
    const float rounded = dtype == DType::kFloat16 ? RoundToHalf(value) : RoundToBfloat16(value);
    const bool infinite = std::isinf(rounded) && std::isfinite(value);
    past = past || infinite;
    if (!infinite) value = rounded;
  }
  return past;
}

/// Where the values of a tensor come from through Casts alone: a lifted model has that and not what they
/// write.
const std::string& BeforeCasts(const GraphIndex& index, const std::string& name) {
  int tensor = index.FindTensor(name);
  while (index.tensor(tensor).producer >= 0) {
    const NodeInfo& node = index.node(index.tensor(tensor).producer);
    if (node.proto->op_type() != "Cast" || node.inputs.empty() || node.inputs[0] < 0) break;
    tensor = node.inputs[0];
  }
  return index.tensor(tensor).name;
}

}  // namespace

uint64_t FindSample(const SampleSource& samples, const std::string& name) {
  for (uint64_t i = 0; !name.empty() && i < samples.size(); ++i) {
    if (samples.Name(i) == name) return i;
  }
  return 0;
}

SessionOptions SessionOptionsOf(const CheckOptions& options, bool beside_another) {
  SessionOptions session;
  session.beside_another = beside_another;
  session.threads = options.threads;
  session.custom_op_libraries = options.custom_op_libraries;
  return session;
}

const Model& ReferenceOf(const Model& original, const CheckOptions& options) {
  return options.reference != nullptr ? options.reference->Lifted() : original.Lifted();
}

const KeptOutputs* KeptOf(const CheckOptions& options) {
  const bool stand = options.kept_outputs != nullptr && options.kept_outputs->complete;
  return stand && options.save_outputs.empty() ? options.kept_outputs : nullptr;
}

Feed FeedOf(const CheckOptions& options) { return options.low_memory ? Feed::kOfAll : Feed::kOfLargeModels; }

bool OneAtATime(const Model& model, const CheckOptions& options) {
  return options.low_memory || IsLarge(model);
}

Reference::Reference(const Model& original, const CheckOptions& options, bool same_shapes,
                     bool beside_another)
    : model_(original), allow_nan_(options.allow_nan), kept_(KeptOf(options)), names_(OutputNames(original)) {
  if (options.rules != nullptr) rules_ = *options.rules;
  if (kept_ != nullptr) return;
  WeightOptions weights;
  weights.feed = FeedOf(options);
  session_model_ = MakeSessionModel(original, weights);
  sessions_ =
      std::make_unique<SessionCache>(session_model_, SessionOptionsOf(options, beside_another), same_shapes);
}

void Reference::RunAhead(const SampleSource& samples, const CheckOptions& options, Progress* progress) {
  RuleFinder finder(model_);
  const bool stays = OneAtATime(model_, options);
  if (kept_ == nullptr && (stays || options.rules == nullptr)) {
    progress->Begin("run fp32", samples.size());
    auto store = std::make_unique<OutputStore>();
    const std::vector<InputSpec> inputs = model_.Inputs();
    ReadAhead reader(samples, 0);
    for (uint64_t i = 0; i < samples.size(); ++i) {
      ThrowIfInterrupted();
      const Sample sample = reader.Next();
      ValidateSample(sample, inputs, allow_nan_);
      const RunOutputs outputs = Run(i, sample);
      finder.Add(outputs.views);
      if (store != nullptr) store->Add(outputs.views);
      if (store != nullptr && !stays && store->bytes() > kMostStored) store = nullptr;
      progress->Step();
    }
    progress->End();
    store_ = std::move(store);
    if (store_ != nullptr) Close();
  } else if (options.rules == nullptr) {
    for (uint64_t i = 0; i < samples.size(); ++i) finder.Add(Run(i, {}).views);
  }
  if (options.rules == nullptr) rules_ = finder.Rules();
}

void Reference::Close() {
  sessions_ = nullptr;
  session_model_ = {};
  model_.Forget();
}

RunOutputs Reference::Run(uint64_t index, const Sample& sample) {
  RunOutputs outputs;
  if (sessions_ != nullptr) {
    outputs.sample = std::make_shared<Sample>(sample);
    outputs.values = sessions_->For(sample).Run(*outputs.sample);
    outputs.views = Views(outputs.values, names_);
  } else {
    if (store_ != nullptr) outputs.stored = store_->Read(index);
    for (const OutputValue& kept : store_ != nullptr ? outputs.stored : kept_->samples[index])
      outputs.views.push_back(View(kept));
  }
  RoundOutputs(&outputs);
  return outputs;
}

void Reference::RoundAs(const Model& lifted, const Model& fixed) {
  rounds_to_.assign(names_.size(), DType::kFloat);
  const std::vector<DType> types = StoredOutputTypes(lifted);
  for (size_t i = 0; i < types.size(); ++i) {
    const std::string& name = lifted.proto().graph().output(static_cast<int>(i)).name();
    const auto output = std::ranges::find(names_, name);
    const int in_fixed = fixed.index().FindTensor(0, name);
    if (output == names_.end() || in_fixed < 0) continue;  // Of a tail that doesn't run.
    // Of a sequence only the elements have a type.
    const TensorInfo& info = fixed.index().tensor(in_fixed);
    if (info.is_tensor && info.dtype == types[i])
      rounds_to_[static_cast<size_t>(output - names_.begin())] = types[i];
  }
}

void Reference::RoundOutputs(RunOutputs* outputs) {
  outputs->rounded.resize(rounds_to_.size());
  for (size_t i = 0; i < rounds_to_.size(); ++i) {
    if (!IsSixteenBit(rounds_to_[i])) continue;
    outputs->rounded[i] = CopyOutput(outputs->views[i]);
    for (Array& array : outputs->rounded[i].tensors) {
      if (array.dtype != DType::kFloat) continue;
      const std::span values(reinterpret_cast<float*>(array.bytes.data()),
                             array.bytes.size() / sizeof(float));
      if (RoundWithinRange(values, rounds_to_[i])) past_type_.insert(i);
    }
    outputs->views[i] = View(outputs->rounded[i]);
  }
}

std::vector<std::string> Reference::PastType() const {
  std::vector<std::string> names;
  for (const size_t output : past_type_) names.push_back(names_[output]);
  return names;
}

std::vector<Difference> CompareAll(const Judging& judging, const RunOutputs& reference,
                                   const std::vector<OutputView>& outputs, const std::string& sample) {
  std::vector<Difference> differences;
  for (size_t i = 0; i < judging.names.size(); ++i) {
    const OutputRule* rule = judging.rules.empty() ? nullptr : &judging.rules[i];
    differences.push_back(
        CompareOutput(reference.views[i], outputs[i], sample, judging.options.tolerance, rule));
  }
  return differences;
}

bool AddDraws(const Judging& judging, const std::vector<std::vector<Difference>>& draws,
              const std::string& sample, ModelErrors* errors) {
  errors->outputs.resize(judging.names.size());
  bool right = true;
  for (size_t i = 0; i < judging.names.size(); ++i) {
    OutputError& output = errors->outputs[i];
    output.name = judging.names[i];
    std::vector<Difference> of_output;
    for (const auto& draw : draws) of_output.push_back(draw[i]);
    SampleError found = AddSample(of_output, sample, &output);
    right = right && found.right;
    if (judging.options.per_sample) output.samples.push_back(std::move(found));
  }
  return right;
}

void Conclude(ModelErrors* errors) {
  errors->right = errors->failure.empty();
  for (const OutputError& output : errors->outputs) {
    errors->right = errors->right && output.right;
    if (output.new_nonfinite > 0) errors->nonfinite_outputs.push_back(output.name);
  }
  RequireCompared(errors);
}

Candidate::Candidate(const Model& model, const CheckOptions& options, bool same_shapes, bool beside_another,
                     WidenedWeights* weights, bool ranges)
    : model_(model),
      inputs_(model.Inputs()),
      session_model_(EmulateHalf(model, &rounder_, weights, FeedOf(options), ranges)) {
  if (ranges) ranges_ = std::make_unique<StoredRanges>(model, &rounder_);
  SessionOptions session = SessionOptionsOf(options, beside_another);
  session.taps = &rounder_;
  sessions_ = std::make_unique<SessionCache>(session_model_, session, same_shapes);
  rounder_.seed = options.seed;
}

std::optional<RunOutputs> Candidate::Run(const Sample& sample) { return Run(sample, 0); }

std::optional<RunOutputs> Candidate::Run(const Sample& sample, size_t draw) {
  if (!errors.failure.empty()) return std::nullopt;
  rounder_.BeginSample(sample.name, draw);
  RunOutputs outputs;
  outputs.sample = std::make_shared<Sample>(EmulatedInputs(sample, inputs_));
  if (ranges_ && draw == 0) ranges_->BeginSample(*outputs.sample);
  try {
    Session& session = sessions_->For(*outputs.sample);
    outputs.values = session.Run(*outputs.sample);
    outputs.views = Views(outputs.values, session.output_names());
  } catch (const Error& error) {
    // Rounded sizes or positions can make a node fail where FP32 does not. That is a finding, not a bad
    // model.
    if (error.code() != ExitCode::kBadInput) throw;
    errors.failure = error.what();
    errors.failure_sample = sample.name;
    return std::nullopt;
  }
  if (ranges_ && draw == 0) ranges_->EndSample();
  return outputs;
}

bool Candidate::Compare(const Judging& judging, const RunOutputs& reference, const RunOutputs& outputs,
                        const Sample& sample, bool draws) {
  std::vector<std::vector<Difference>> found = {CompareAll(judging, reference, outputs.views, sample.name)};
  const auto undecided = [&] {
    for (size_t output = 0; output < judging.names.size(); ++output) {
      std::vector<double> distances;
      for (const auto& draw : found) distances.push_back(draw[output].distance);
      if (NeedsAnother(distances, kSure)) return true;
    }
    return false;
  };
  const auto* known = judging.options.close_samples;
  const bool close = known != nullptr && std::ranges::find(*known, sample.name) != known->end();
  while (draws && (undecided() || (close && found.size() < kMostDraws))) {
    const std::optional<RunOutputs> other = Run(sample, found.size());
    if (!other) return false;
    found.push_back(CompareAll(judging, reference, other->views, sample.name));
  }
  if (found.size() > 1) errors.close_samples.push_back(sample.name);
  return AddDraws(judging, found, sample.name, &errors);
}

void Candidate::Finish(const std::function<bool(const std::string&, bool)>& finite_before) {
  Conclude(&errors);
  const GraphIndex& index = model_.index();
  for (const RoundedTensor& tensor : rounder_.tensors) {
    const auto report = [&](const std::string& sample, bool nan, std::optional<FirstNonFinite>* first) {
      if (sample.empty() || first->has_value() || !finite_before(tensor.name, nan)) return;
      if (!finite_before(BeforeCasts(index, tensor.name), nan)) return;
      const NodeInfo& node = index.node(index.tensor(index.FindTensor(tensor.name)).producer);
      *first = FirstNonFinite{tensor.name, node.name, node.proto->op_type(), sample};
    };
    report(tensor.inf_sample, false, &errors.first_inf);
    report(tensor.nan_sample, true, &errors.first_nan);
  }
}

std::optional<RangeTable> Candidate::Ranges() const {
  return ranges_ ? std::optional(ranges_->Table()) : std::nullopt;
}

void Candidate::Close() {
  sessions_ = nullptr;
  session_model_ = {};
  model_.Forget();
}

bool Candidate::AnyNonFinite() const {
  return std::any_of(rounder_.tensors.begin(), rounder_.tensors.end(), [](const RoundedTensor& tensor) {
    return !tensor.inf_sample.empty() || !tensor.nan_sample.empty();
  });
}

}  // namespace halfsafe
