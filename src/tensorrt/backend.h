#pragma once

#include <functional>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "halfsafe/engine.h"

/// The seam behind which TensorRT stands: no type of it passes. nvidia/ implements it; a build without
/// TensorRT has backend_absent.cc.
namespace halfsafe {

/// A layer of a parsed network, as far as constraints need to know it.
struct NetworkLayer {
  std::string name;
  std::string node;  ///< The ONNX node that it was made of; empty where the parser doesn't say.
  std::vector<std::string> outputs;  ///< Names of tensors; those of the parser's own begin with kUnnamed.
  bool constant = false;
  bool takes_precision = true;  ///< False for Shape and Cast layers and those that write no floats.
};

/// How names of tensors begin that the ONNX file doesn't have.
inline constexpr std::string_view kUnnamed = "(Unnamed Layer";

/// What one layer computes in and stores its outputs as.
struct LayerConstraint {
  size_t layer = 0;
  Precision precision = Precision::kFp32;
};

/// The range of an input of few integers, for networks that compute shapes from its values.
struct ValueRange {
  std::string input;
  std::vector<int64_t> min, opt, max;
};

/// All that a build needs beside the options that users set.
struct EngineRequest {
  std::filesystem::path model;  ///< An ONNX file.
  Typing typing = Typing::kWeak;
  bool fp16 = false;  ///< Weak typing: FP16 is allowed.
  bool bf16 = false;
  std::vector<std::pair<std::string, Precision>>
      io;  ///< Weak typing: types of inputs and outputs that change.
  std::vector<ShapeProfile> profiles;
  std::vector<ValueRange> values;
  /// Weak typing: called with the parsed layers.
  std::function<std::vector<LayerConstraint>(const std::vector<NetworkLayer>&)> constrain;
  /// Weak typing: inputs and outputs that layers read and write as FP32, without a conversion between.
  std::vector<std::string> wide_io;
  bool show_tensors = false;  ///< Every tensor that has an ONNX name can be seen in a run.
  bool parse_only = false;
};

struct BuiltEngine {
  std::vector<std::byte> bytes;
  uint64_t network_layers = 0;
  double seconds = 0.0;
};

/// An input or output of an engine.
struct EnginePort {
  std::string name;
  bool input = false;
  DType dtype = DType::kFloat;
  std::vector<int64_t> shape;  ///< -1 where an input, or what it decides, is free.
};

struct EngineTimes {
  std::vector<double> runs_ms;   ///< Sorted.
  std::vector<double> graph_ms;  ///< Of the CUDA graph, sorted; empty where it could not be captured.
  std::vector<LayerTime> layers;
};

/// An engine on the GPU, ready to run. Arrays have the engine's types; samples may hold wider integers.
class LoadedEngine {
 public:
  virtual ~LoadedEngine() = default;
  virtual const std::vector<EnginePort>& ports() const = 0;
  virtual uint64_t device_bytes() const = 0;
  /// The engine inspector's JSON at the first profile's optimum.
  virtual std::string Inspect() = 0;
  /// Outputs, and the tensors that the engine shows, under their names. Throws Error(kBadInput) where no
  /// profile fits the sample, or an integer doesn't fit the engine's type.
  virtual std::vector<NamedArray> Run(const Sample& sample) = 0;
  virtual EngineTimes Time(const Sample& sample, const BenchOptions& options) = 0;
};

class Backend {
 public:
  virtual ~Backend() = default;
  virtual std::string version() const = 0;
  virtual std::string gpu() const = 0;
  virtual bool Supports(Typing typing) const = 0;
  virtual Typing default_typing() const = 0;
  virtual bool has_bf16() const = 0;
  /// Whether inputs and outputs can be INT64.
  virtual bool has_int64() const = 0;
  virtual BuiltEngine Build(const EngineRequest& request, const BuildOptions& options) = 0;
  /// `where` names the engine in messages.
  virtual std::unique_ptr<LoadedEngine> Load(std::span<const std::byte> engine, std::string_view where) = 0;
  /// TensorRT's warnings so far.
  virtual const std::vector<std::string>& warnings() const = 0;
};

/// Throws Error(kUnavailable) where this build has no TensorRT, or the machine no GPU. TensorRT's messages of
/// warnings and worse go to `progress`, which must outlive the backend.
std::unique_ptr<Backend> OpenBackend(const std::vector<std::filesystem::path>& plugins, Progress* progress);

}  // namespace halfsafe
