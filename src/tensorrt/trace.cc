#include <algorithm>
#include <set>

#include "halfsafe/error.h"
#include "halfsafe/rewrite.h"
#include "model/graph_index.h"
#include "model/lifted_samples.h"
#include "model/runnable.h"
#include "tensorrt/outputs.h"
#include "tensorrt/prepare.h"
#include "verify/candidate.h"

namespace halfsafe {
namespace {

/// Compares what an engine shows with FP32, tensor by tensor. Tensors go by their names: those that the
/// rewriting stores under the original's name hold the same values, times the same powers of two, in the
/// strongly and in the weakly typed model.
class Tracer {
 public:
  Tracer(const Model& fp32, const Tolerance& tolerance) : tolerance_(tolerance) {
    const GraphIndex& index = fp32.index();
    for (const TensorInfo& tensor : index.tensors()) {
      if (tensor.graph != 0 || tensor.kind != TensorKind::kActivation || !IsFloat(tensor.dtype)) continue;
      const NodeInfo& node = index.node(tensor.producer);
      tensors_.push_back({tensor.local, node.name, node.proto->op_type(), {}});
      tensors_.back().error.name = tensor.local;
    }
  }

  void Compare(const std::vector<std::string>& names, const std::vector<OutputView>& expected,
               const std::vector<NamedArray>& shown, const std::string& sample) {
    for (TracedTensor& tensor : tensors_) {
      const auto name = std::find(names.begin(), names.end(), tensor.name);
      const auto array = std::find_if(shown.begin(), shown.end(),
                                      [&](const NamedArray& other) { return other.name == tensor.name; });
      if (name == names.end() || array == shown.end()) continue;
      seen_.insert(tensor.name);
      ModelErrors errors;
      errors.outputs.push_back(std::move(tensor.error));
      CompareArrays({&tensor.name, 1}, {&expected[static_cast<size_t>(name - names.begin())], 1}, {},
                    {&*array, 1}, sample, tolerance_, &errors);
      tensor.error = std::move(errors.outputs.front());
    }
  }

  void Finish(TraceResult* result) {
    for (TracedTensor& tensor : tensors_) {
      if (!seen_.contains(tensor.name)) {
        result->hidden.push_back(tensor.name);
        continue;
      }
      const size_t position = result->tensors.size();
      if (!result->first_nonfinite && tensor.error.new_nonfinite > 0) result->first_nonfinite = position;
      if (!result->first_bad && !tensor.error.right) result->first_bad = position;
      result->tensors.push_back(std::move(tensor));
    }
  }

 private:
  const Tolerance& tolerance_;
  std::vector<TracedTensor> tensors_;
  std::set<std::string> seen_;
};

/// The model whose FP32 tensors an engine's are held against: with the plan's powers of two, and no types.
std::optional<Model> Fp32Twin(const Model& model, const Plan* plan) {
  if (plan == nullptr) return std::nullopt;
  return ApplyWeakly(model, *plan).model;
}

}  // namespace

TraceResult TraceEngine(const Model& model, const Plan* plan, const SampleSource& given,
                        const BuildOptions& options, const Tolerance& tolerance, Progress* progress) {
  const LiftedSamples lifted_samples(model.Lifted(), given, progress);
  const SampleSource& samples = lifted_samples.source();
  const std::unique_ptr<Backend> backend = OpenBackend(options.plugins, progress);
  Prepared prepared = PrepareModel(model, plan, &samples, options, *backend);
  prepared.request.show_tensors = true;
  TraceResult result;
  result.build = BuildPrepared(model, prepared, options, backend.get(), progress);
  const std::unique_ptr<LoadedEngine> engine = backend->Load(result.build.engine, "the traced engine");
  result.build.engine.clear();

  const std::optional<Model> twin = Fp32Twin(model, plan);
  const Model& fp32 = twin ? *twin : model.Lifted();
  const std::optional<Model> part = RunnablePart(fp32, false);
  const Model marked = MarkOutputs(part ? *part : fp32, ".*");
  Reference reference(marked, {}, SameShapes(samples));
  Tracer tracer(fp32, tolerance);
  const std::vector<InputSpec> inputs = model.Lifted().Inputs();
  progress->Begin("trace", samples.size());
  for (uint64_t i = 0; i < samples.size(); ++i) {
    ThrowIfInterrupted();
    const Sample sample = samples.Read(i);
    ValidateSample(sample, inputs);
    tracer.Compare(reference.names(), reference.Run(i, sample).views, engine->Run(sample), sample.name);
    progress->Step();
  }
  progress->End();
  result.samples = samples.size();
  tracer.Finish(&result);
  return result;
}

}  // namespace halfsafe
