#include <fmt/format.h>

#include "halfsafe/error.h"
#include "tensorrt/constraints.h"
#include "tensorrt/prepare.h"
#include "tensorrt/warnings.h"

namespace halfsafe {
namespace {

BuildResult Build(const Model& model, const Plan* plan, const SampleSource* samples,
                  const BuildOptions& options, bool parse_only, Progress* progress) {
  const std::unique_ptr<Backend> backend = OpenBackend(options.plugins, progress);
  Prepared prepared = PrepareModel(model, plan, samples, options, *backend);
  prepared.request.parse_only = parse_only;
  return BuildPrepared(model, prepared, options, backend.get(), progress);
}

}  // namespace

std::string_view TypingName(Typing typing) { return typing == Typing::kWeak ? "weak" : "strong"; }

BuildResult BuildPrepared(const Model& model, const Prepared& prepared, const BuildOptions& options,
                          Backend* backend, Progress* progress) {
  const PrivateFolder folder;
  EngineRequest request = prepared.request;
  request.model = model.path();
  // TensorRT reads files, and what is loaded here may differ from the file: functions are inlined, the opset
  // may be raised.
  if (prepared.rewritten || model.raised_opset()) {
    request.model = folder.path() / "model.onnx";
    (prepared.rewritten ? *prepared.rewritten : model).Save(request.model);
  }
  BuildResult result;
  result.model_sha256 = model.sha256();
  result.tensorrt = backend->version();
  result.gpu = backend->gpu();
  result.typing = request.typing;
  for (const ShapeProfile& profile : request.profiles) {
    if (!profile.empty()) result.profiles.push_back(profile);
  }
  Warnings ours(progress);
  for (const std::string& warning : prepared.warnings) ours.Add(warning);
  result.warnings = ours.all();
  request.constrain = [&](const std::vector<NetworkLayer>& layers) {
    return ChooseConstraints(prepared.pinned, layers, backend->has_bf16(), &result.pinned);
  };
  progress->Begin(request.parse_only ? "parse" : "build", 0);
  BuiltEngine engine = backend->Build(request, options);
  progress->End();
  result.engine = std::move(engine.bytes);
  result.seconds = engine.seconds;
  result.network_layers = engine.network_layers;
  const std::vector<std::string>& warnings = backend->warnings();
  result.warnings.insert(result.warnings.end(), warnings.begin(), warnings.end());
  return result;
}

BuildResult BuildEngine(const Model& model, const Plan* plan, const SampleSource* samples,
                        const BuildOptions& options, Progress* progress) {
  return Build(model, plan, samples, options, false, progress);
}

BuildResult ParseForEngine(const Model& model, const Plan* plan, const SampleSource* samples,
                           const BuildOptions& options, Progress* progress) {
  return Build(model, plan, samples, options, true, progress);
}

std::string InspectEngine(std::span<const std::byte> engine, std::string_view where,
                          const std::vector<std::filesystem::path>& plugins, Progress* progress) {
  const std::unique_ptr<Backend> backend = OpenBackend(plugins, progress);
  return backend->Load(engine, where)->Inspect();
}

}  // namespace halfsafe
