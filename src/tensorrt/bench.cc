#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "halfsafe/error.h"
#include "model/lifted_samples.h"
#include "model/runnable.h"
#include "tensorrt/backend.h"
#include "tensorrt/outputs.h"
#include "verify/candidate.h"
#include "verify/compare.h"

namespace halfsafe {
namespace {

/// The smallest time that `share` of the runs did not pass.
double Quantile(const std::vector<double>& sorted, double share) {
  const auto rank = static_cast<size_t>(std::ceil(share * static_cast<double>(sorted.size())));
  return sorted[std::max<size_t>(rank, 1) - 1];
}

void RequireSameInputs(const Model& model, const LoadedEngine& engine, const std::string& name) {
  std::vector<std::string> found;
  for (const EnginePort& port : engine.ports()) {
    if (port.input) found.push_back(port.name);
  }
  std::vector<std::string> expected;
  for (const InputSpec& input : model.Inputs()) expected.push_back(input.name);
  std::sort(found.begin(), found.end());
  std::sort(expected.begin(), expected.end());
  // TensorRT drops inputs that nothing reads.
  if (!std::includes(expected.begin(), expected.end(), found.begin(), found.end())) {
    throw BadInput(fmt::format("{} has inputs {}, {} has {}: it is not an engine of this model", name,
                               fmt::join(found, ", "), model.path().string(), fmt::join(expected, ", ")));
  }
}

EngineBench Measure(const EngineTimes& times, const LoadedEngine& engine, int64_t batch) {
  EngineBench result;
  result.median_ms = Quantile(times.runs_ms, 0.5);
  result.p99_ms = Quantile(times.runs_ms, 0.99);
  if (!times.graph_ms.empty()) result.graph_median_ms = Quantile(times.graph_ms, 0.5);
  const double fastest = result.graph_median_ms.value_or(result.median_ms);
  result.samples_per_second = fastest > 0.0 ? 1e3 * static_cast<double>(batch) / fastest : 0.0;
  result.device_bytes = engine.device_bytes();
  result.layers = times.layers;
  return result;
}

}  // namespace

BenchResult BenchEngines(const Model& given, const std::vector<NamedEngine>& files,
                         const SampleSource& given_source, const BenchOptions& options, Progress* progress) {
  const Model& whole = given.Lifted();
  const LiftedSamples lifted_samples(whole, given_source, progress);
  const SampleSource& source = lifted_samples.source();
  const std::unique_ptr<Backend> backend = OpenBackend(options.plugins, progress);
  std::vector<std::unique_ptr<LoadedEngine>> engines;
  for (const NamedEngine& file : files) {
    engines.push_back(backend->Load(file.bytes, file.name));
    RequireSameInputs(whole, *engines.back(), file.name);
  }
  const std::vector<InputSpec> inputs = whole.Inputs();
  const std::unique_ptr<SampleSource> samples = RepeatSamples(source, inputs, options.batch);
  CheckOptions check;
  check.threads = options.threads;
  check.custom_op_libraries = options.custom_op_libraries;
  const std::optional<Model> part = RunnablePart(whole, !options.custom_op_libraries.empty());
  Reference reference(part ? *part : whole, check, SameShapes(*samples));
  reference.RunAhead(*samples, check, progress);

  BenchResult result{backend->version(), backend->gpu(), source.size(), options.batch, {}};
  std::vector<ModelErrors> errors(engines.size());
  std::optional<Sample> first;
  progress->Begin("bench", samples->size());
  for (uint64_t i = 0; i < samples->size(); ++i) {
    ThrowIfInterrupted();
    Sample sample = samples->Read(i);
    ValidateSample(sample, inputs);
    const RunOutputs expected = reference.Run(i, sample);
    for (size_t k = 0; k < engines.size(); ++k) {
      CompareArrays(reference.names(), expected.views, reference.rules(), engines[k]->Run(sample),
                    sample.name, options.tolerance, &errors[k]);
    }
    if (!first) first = std::move(sample);
    progress->Step();
  }
  progress->End();
  progress->Begin("time", engines.size());
  for (size_t k = 0; k < engines.size(); ++k) {
    EngineBench bench = Measure(engines[k]->Time(*first, options), *engines[k], options.batch);
    bench.name = files[k].name;
    bench.errors = std::move(errors[k]);
    RequireCompared(&bench.errors);
    if (options.inspect) bench.inspected = LayersFromJson(engines[k]->Inspect(), bench.name);
    result.engines.push_back(std::move(bench));
    progress->Step();
  }
  progress->End();
  return result;
}

}  // namespace halfsafe
