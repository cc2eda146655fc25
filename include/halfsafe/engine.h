#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "halfsafe/check.h"
#include "halfsafe/model.h"
#include "halfsafe/plan.h"
#include "halfsafe/progress.h"
#include "halfsafe/rewrite.h"
#include "halfsafe/sample.h"

/// \file
/// TensorRT: engines from plans, what their layers run in, where they go wrong, what they take. Functions
/// that need TensorRT or a GPU throw Error(kUnavailable) where this build has none, or the machine.

namespace halfsafe {

/// Who decides the types inside an engine.
enum class Typing {
  kWeak,    ///< TensorRT, within constraints on layers (8.6 to 10.x).
  kStrong,  ///< The ONNX file (10.0 and newer).
};

/// "weak" or "strong".
std::string_view TypingName(Typing typing);

/// The sizes of one input that an engine is made for; -1 nowhere.
struct ShapeRange {
  std::string input;         ///< The input's name.
  std::vector<int64_t> min;  ///< The smallest sizes that run.
  std::vector<int64_t> opt;  ///< Those that it is tuned for.
  std::vector<int64_t> max;  ///< The largest.
};

/// Shapes of all inputs together: one optimization profile.
using ShapeProfile = std::vector<ShapeRange>;

/// Reads "x=1x3x224x224:8x3x224x224:16x3x224x224,ids=1x16" (min:opt:max, or one shape for all three; commas
/// between inputs). Throws Error(kUsage) that names what is wrong with `text`.
ShapeProfile ParseShapes(std::string_view text);

/// How an engine is built.
struct BuildOptions {
  std::optional<Typing> typing;                ///< Unset: strong from TensorRT 10 on, weak before.
  bool fp16 = false;                           ///< Without a plan: FP16 wherever it can be.
  bool obey_constraints = true;                ///< Weak typing: fail rather than give a constraint up.
  bool tf32 = false;                           ///< FP32 products may lose 13 bits of mantissa.
  bool accumulate_fp32 = false;                ///< Strong typing: FP16 products are summed in FP32.
  std::vector<ShapeProfile> profiles;          ///< Empty: one, that the samples fit.
  std::optional<uint64_t> workspace;           ///< Bytes of scratch memory; unset: what the GPU has.
  std::optional<int> level;                    ///< Optimization level, 0 to 5; unset: TensorRT's own.
  std::filesystem::path timing_cache;          ///< Read where it exists, and written; empty: none.
  bool version_compatible = false;             ///< The engine runs on later versions too, on 8.6 and newer.
  bool hardware_compatible = false;            ///< The engine runs on any GPU from Ampere on.
  bool own_kernels = false;                    ///< Not cuBLAS, cuBLASLt and cuDNN.
  std::vector<std::filesystem::path> plugins;  ///< Libraries of plugins.
};

/// A node that may not run in FP16, and what became of that.
struct PinnedLayer {
  std::string node;                        ///< As plans call it.
  Precision precision = Precision::kFp32;  ///< What it has to run in.
  std::vector<std::string> layers;         ///< The network's layers that were constrained for it.
  std::string problem;                     ///< Why none was; empty where one was.
};

/// An engine, and how it came about.
struct BuildResult {
  std::string model_sha256;            ///< Of the original model.
  std::string tensorrt;                ///< "8.6.1"
  std::string gpu;                     ///< Its name, as CUDA gives it.
  Typing typing = Typing::kWeak;       ///< The one that was used.
  std::vector<std::byte> engine;       ///< Empty where only parsing was asked for.
  double seconds = 0.0;                ///< Of the build.
  uint64_t network_layers = 0;         ///< Of the parsed network, before fusion.
  std::vector<ShapeProfile> profiles;  ///< Of inputs with free dimensions; empty where there are none.
  std::vector<PinnedLayer> pinned;     ///< With weak typing: what may not run in FP16, in graph order.
  std::vector<std::string> warnings;   ///< TensorRT's, and ours: all of them. Progress::Warn has each once.
};

/// Builds an engine from the original model and, where there is one, its plan. With weak typing the plan's
/// exponents and constants are applied in FP32 and its types become constraints; with strong typing all of it
/// is applied. Profiles come from `samples` where the options have none; it may be null for a model without
/// free dimensions. Throws Error(kBadInput) for models that TensorRT refuses (naming node and operator),
/// plans of other models, profiles that a sample doesn't fit; Error(kUnavailable) also where this version of
/// TensorRT lacks the typing; Error(kInternal) out of memory.
BuildResult BuildEngine(const Model& model, const Plan* plan, const SampleSource* samples,
                        const BuildOptions& options, Progress* progress);

/// The same, errors too, up to the build itself: what TensorRT parses, and which layers would be constrained.
BuildResult ParseForEngine(const Model& model, const Plan* plan, const SampleSource* samples,
                           const BuildOptions& options, Progress* progress);

/// A tensor of an engine: one that is in memory between layers.
struct StoredTensor {
  std::string name;                 ///< As the inspector calls it.
  DType dtype = DType::kUndefined;  ///< Undefined where the inspector doesn't say.
  std::string format;               ///< In the inspector's words.
};

/// A layer of an engine, after TensorRT has fused what it could.
struct EngineLayer {
  std::string name;                ///< TensorRT's.
  std::string type;                ///< "CaskConvolution", "Reformat", "Myelin", ...; empty without details.
  std::vector<std::string> nodes;  ///< The ONNX nodes that it computes, in order, as TensorRT calls them; of
                                   ///< a region only those it names. The last one writes the layer's output.
  bool region = false;             ///< It computes more nodes than it names, and hides what is between them.
  bool moves = false;              ///< It only changes layout or type, for TensorRT's own sake.
  std::vector<StoredTensor> inputs;   ///< What it reads.
  std::vector<StoredTensor> outputs;  ///< What it writes.
  std::string tactic;                 ///< The kernel, in the inspector's words; empty where it doesn't say.
};

/// What TensorRT's engine inspector says.
struct EngineLayers {
  bool detailed = false;  ///< Types are known. Not so without ProfilingVerbosity::kDETAILED: names alone.
  bool shaped = true;     ///< False where shapes were not set, so that types are "N/A".
  std::vector<std::string> bindings;  ///< Inputs and outputs.
  std::vector<EngineLayer> layers;    ///< In the inspector's order.
};

/// Reads the inspector's JSON, of TensorRT 8.6 to 11. Throws Error(kBadInput) that names `where` and what is
/// wrong.
EngineLayers LayersFromJson(std::string_view text, std::string_view where);

/// Where a planned node is found in an engine.
enum class Presence {
  kLayer,   ///< In a layer whose tensors are listed.
  kFused,   ///< In a layer with others; what it writes goes no further than inside.
  kRegion,  ///< Inside a region, which shows only what goes in and out.
  kAbsent,  ///< Nowhere: folded, or removed.
};

/// "layer", "fused", "region" or "absent".
std::string_view PresenceName(Presence presence);

/// A node, and what an engine made of it.
struct NodeInEngine {
  std::string node;                       ///< As plans call it, or without a plan as the layer does.
  std::optional<Precision> planned;       ///< Unset without a plan.
  Presence presence = Presence::kAbsent;  ///< Where it is found.
  std::string layer;                      ///< Empty where absent.
  std::vector<StoredTensor> inputs;       ///< Of the layer, floats alone.
  std::vector<StoredTensor> outputs;      ///< Likewise.
  std::string problem;  ///< Why it isn't as planned; empty where it is, as far as the engine shows.
};

/// An engine held against a plan.
struct EngineReport {
  std::string tensorrt;             ///< Empty where the layers came from a file.
  std::string gpu;                  ///< Likewise.
  EngineLayers layers;              ///< All of them.
  std::vector<NodeInEngine> nodes;  ///< Those planned wider than FP16; without a plan, all that layers name.
  uint64_t reformats = 0;           ///< Layers that only change layout or type.
  uint64_t planned_reformats = 0;   ///< Of those: between FP16 and a wider type, inside the network.
  bool judged = false;              ///< There was a plan, and all types are known.
  bool as_planned = true;           ///< No node is known to have a problem.
};

/// Holds layers against a plan, which may be null. A node that the plan keeps wider isn't as planned where
/// its result is stored in FP16, or where the layer that it is fused into reads and writes FP16 alone. Inside
/// regions nothing is seen, so nothing is held against them.
EngineReport CompareLayers(EngineLayers layers, const Plan* plan);

/// The engine inspector's JSON of an engine, with shapes set to the first profile's optimum.
std::string InspectEngine(std::span<const std::byte> engine, std::string_view where,
                          const std::vector<std::filesystem::path>& plugins, Progress* progress);

/// A tensor of an engine that was built to show it.
struct TracedTensor {
  std::string name;     ///< As the model calls it.
  std::string node;     ///< The node that writes it.
  std::string op_type;  ///< The node's operator.
  OutputError error;    ///< Against FP32.
};

/// Where an engine goes wrong.
struct TraceResult {
  BuildResult build;                      ///< Without the engine.
  uint64_t samples = 0;                   ///< How many were run.
  std::vector<TracedTensor> tensors;      ///< In graph order.
  std::optional<size_t> first_nonfinite;  ///< Position in `tensors`.
  std::optional<size_t> first_bad;        ///< The first past the tolerance.
  std::vector<std::string> hidden;        ///< Tensors that the engine doesn't show.
};

/// Builds an engine that shows every tensor and compares each with FP32 on ONNX Runtime. Showing tensors
/// changes what TensorRT fuses, so that a fault may move or go. Throws what BuildEngine throws.
TraceResult TraceEngine(const Model& model, const Plan* plan, const SampleSource& samples,
                        const BuildOptions& options, const Tolerance& tolerance, Progress* progress);

/// How engines are timed.
struct BenchOptions {
  int runs = 200;          ///< Timed runs of each engine.
  int warm_up = 20;        ///< Runs before, and no less than 0.3 s.
  bool inspect = false;    ///< Also ask what the engines' layers are.
  bool cuda_graph = true;  ///< Also time the launches as one CUDA graph, where it can be captured.
  int64_t batch = 1;       ///< How often each sample is repeated along a free first axis.
  Tolerance tolerance;     ///< What counts as right.
  int threads = 0;         ///< Of ONNX Runtime; 0: one per core.
  std::vector<std::filesystem::path> custom_op_libraries;  ///< For ONNX Runtime.
  std::vector<std::filesystem::path> plugins;              ///< For TensorRT.
};

/// Time of one layer within a run.
struct LayerTime {
  std::string layer;       ///< TensorRT's name of it.
  double median_us = 0.0;  ///< Over the timed runs.
};

/// What one engine did.
struct EngineBench {
  std::string name;                       ///< The one that was given.
  double median_ms = 0.0;                 ///< Of one run's work on the GPU, by CUDA events, without copies.
  double p99_ms = 0.0;                    ///< The same: 99 % of the runs took no longer.
  std::optional<double> graph_median_ms;  ///< As one CUDA graph, where that was asked for and works.
  double samples_per_second = 0.0;        ///< From the median, the CUDA graph's where there is one.
  uint64_t device_bytes = 0;              ///< Weights and scratch memory.
  std::vector<LayerTime> layers;          ///< In the profiler's order.
  EngineLayers inspected;  ///< Where it was asked for. Its layers have the names that `layers` has.
  ModelErrors errors;      ///< Against FP32 on ONNX Runtime, on every sample.
};

/// What engines did, measured on one machine.
struct BenchResult {
  std::string tensorrt;              ///< Its version.
  std::string gpu;                   ///< Its name, as CUDA gives it.
  uint64_t samples = 0;              ///< How many were run and compared.
  int64_t batch = 1;                 ///< As in the options.
  std::vector<EngineBench> engines;  ///< In the order given.
};

/// An engine to time.
struct NamedEngine {
  std::string name;              ///< What results call it.
  std::vector<std::byte> bytes;  ///< The serialized engine.
};

/// Runs every sample through every engine, compares the outputs with the model's on ONNX Runtime in FP32, and
/// times the first sample. Throws Error(kBadInput) for engines that this TensorRT can't load, or that have
/// other inputs and outputs than the model; for samples that no profile fits.
BenchResult BenchEngines(const Model& model, const std::vector<NamedEngine>& engines,
                         const SampleSource& samples, const BenchOptions& options, Progress* progress);

/// Times of engines' layers as plans take them.
struct MeasuredLatencies {
  Latencies latencies;             ///< What MakePlan takes.
  std::vector<std::string> notes;  ///< How much of the engines' time it holds, and what was left out.
};

/// What the model's nodes take in FP16, BF16 and FP32, of engines that were benchmarked with
/// BenchOptions::inspect. A layer has the precision of the floats that it reads and writes; one that converts
/// has none. Nodes that some engine has in one layer are one entry, and so are those of layers that overlap
/// between engines. An entry has the time of all its layers, the least where several engines have it in one
/// precision; without both FP16 and FP32 there is none. Throws Error(kBadInput) for engines that don't say
/// what types layers have.
MeasuredLatencies MeasureLatencies(const Model& model, const BenchResult& bench);

/// A plan's types in the words of another tool.
struct ToolArguments {
  std::string text;                ///< Arguments on one line, quoted for a shell, or a script.
  std::vector<std::string> notes;  ///< What the tool can't be told, or only some of its versions.
};

/// The arguments that make trtexec (8.6 to 10.x) pin layers as BuildEngine does with weak typing: they belong
/// to the model in `weak`.
ToolArguments TrtexecArguments(const WeaklyTyped& weak);

/// The same for Polygraphy (0.49 and newer): a Python script for --trt-network-postprocess-script, because
/// its arguments alone can't set what layers store.
ToolArguments PolygraphyScript(const WeaklyTyped& weak);

/// A halfsafe-build file (docs/formats.md), without the engine.
std::string ToJson(const BuildResult& result);
/// A halfsafe-engine file.
std::string ToJson(const EngineReport& report);
/// A halfsafe-trace file.
std::string ToJson(const TraceResult& result);
/// A halfsafe-bench file.
std::string ToJson(const BenchResult& result);

}  // namespace halfsafe
