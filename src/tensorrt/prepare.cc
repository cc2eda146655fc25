#include "tensorrt/prepare.h"

#include <fmt/format.h>
#include <stdlib.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "halfsafe/error.h"
#include "tensorrt/shapes.h"

namespace halfsafe {
namespace {

Typing ChooseTyping(const BuildOptions& options, const Backend& backend) {
  const Typing typing = options.typing.value_or(backend.default_typing());
  if (!backend.Supports(typing)) {
    throw Error(ExitCode::kUnavailable,
                fmt::format("TensorRT {} has no {} typing: {}", backend.version(), TypingName(typing),
                            typing == Typing::kWeak ? "it was removed in 11, use --typing strong"
                                                    : "it came with 10, use --typing weak"));
  }
  return typing;
}

/// What a plan comes to where TensorRT picks types within constraints.
void PrepareWeakly(const Model& model, const Plan& plan, const Backend& backend, Prepared* prepared) {
  WeaklyTyped weak = ApplyWeakly(model, plan);
  prepared->rewritten = std::move(weak.model);
  prepared->pinned = std::move(weak.pinned);
  EngineRequest& request = prepared->request;
  request.wide_io = std::move(weak.wide_io);
  request.fp16 = !plan.NodesIn(Precision::kFp16).empty();
  const size_t bf16 = plan.NodesIn(Precision::kBf16).size();
  request.bf16 = bf16 > 0 && backend.has_bf16();
  if (bf16 > 0 && !backend.has_bf16()) {
    prepared->warnings.push_back(fmt::format(
        "TensorRT {} has no BF16: {} nodes that the plan keeps in it run in FP32", backend.version(), bf16));
  }
  for (const IoPlan& io : plan.io) request.io.emplace_back(io.name, io.precision);
}

void PrepareStrongly(const Model& model, const Plan* plan, const BuildOptions& options, Prepared* prepared) {
  if (plan != nullptr) {
    prepared->rewritten = Apply(model, *plan);
  } else if (options.fp16) {
    prepared->rewritten = Apply(model, PlainFp16Plan(model));
  }
  if (options.accumulate_fp32)
    prepared->rewritten = AccumulateInFp32(prepared->rewritten ? *prepared->rewritten : model);
}

}  // namespace

PrivateFolder::PrivateFolder() {
  std::string name = std::filesystem::temp_directory_path() / "halfsafe.XXXXXX";
  if (mkdtemp(name.data()) == nullptr)
    throw BadInput(fmt::format("cannot create a temporary folder {}: {}", name, std::strerror(errno)));
  path_ = name;
}

PrivateFolder::~PrivateFolder() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

Prepared PrepareModel(const Model& model, const Plan* plan, const SampleSource* samples,
                      const BuildOptions& options, const Backend& backend) {
  if (plan != nullptr && options.fp16)
    throw BadUsage("--fp16 is for models without a plan: a plan says what may be FP16");
  Prepared prepared;
  EngineRequest& request = prepared.request;
  request.typing = ChooseTyping(options, backend);
  if (options.accumulate_fp32 && request.typing == Typing::kWeak)
    throw BadUsage(
        "--accumulate fp32 needs --typing strong: with weak typing TensorRT picks what it sums in");
  const std::vector<InputSpec> inputs = model.Inputs();
  CheckProfiles(inputs, options.profiles);
  request.profiles = options.profiles;
  if (samples != nullptr) {
    SampleShapes shapes = ShapesOfSamples(inputs, *samples);
    if (request.profiles.empty()) request.profiles.push_back(std::move(shapes.profile));
    request.values = std::move(shapes.values);
  }
  if (request.profiles.empty()) {
    try {
      CheckProfiles(inputs, {{}});  // Without free dimensions there is nothing to choose.
    } catch (const Error&) {
      throw BadUsage("the model has free dimensions: give --shapes, or --data to take them from");
    }
    request.profiles.emplace_back();
  }
  if (request.typing == Typing::kStrong) {
    PrepareStrongly(model, plan, options, &prepared);
  } else if (plan != nullptr) {
    PrepareWeakly(model, *plan, backend, &prepared);
  } else {
    request.fp16 = options.fp16;
  }
  return prepared;
}

}  // namespace halfsafe
