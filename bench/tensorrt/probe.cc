// Builds one TensorRT engine from an ONNX model, runs samples through it, compares the outputs with FP32
// references and measures latency. Prints one line of JSON, also when it fails. README.md beside this file
// says how it is used.

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <fstream>
#include <functional>
#include <iostream>
#include <map>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

#include "engine.h"

namespace halfsafe::bench {
namespace {

constexpr const char* kUsage = R"(usage: probe MODEL.onnx SAMPLES_DIR --reference FP32_OUTPUTS_DIR [options]
       probe --device

  --fp16             let the builder use FP16
  --pin FILE         keep these in FP32: a line names an ONNX node or a tensor that it writes; more names for the
                     same may follow, with tabs between them
  --batch N          repeat each sample N times along the first axis, where the model leaves its size free
  --workspace SIZE   the builder's workspace, default 1GiB
  --runs N           timed runs, default 50
  --level N          the builder's optimization level, 0 to 5, default 3
  --timing-cache FILE   read and write what the builder learns of kernels: later builds take less time
  --tactics all      also cuBLAS and cuDNN, where these are installed; default: TensorRT's own
  --name NAME, --mode NAME   what the JSON line calls this model and this engine
  --layers FILE      write the engine's layers, as TensorRT's inspector describes them
  --json FILE        append the JSON line to FILE too
  --device           print the GPU and the versions, and build nothing
)";

std::string Quoted(const std::string& text) {
  std::string quoted = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') quoted += '\\';
    quoted += static_cast<unsigned char>(c) < 0x20 ? ' ' : c;
  }
  return quoted + '"';
}

/// JSON has no infinity: null stands for it, and for what was not measured.
std::string Number(std::optional<double> value) {
  if (!value || !std::isfinite(*value)) return "null";
  char text[40];
  std::snprintf(text, sizeof text, "%.6g", *value);
  return text;
}

size_t ParseSize(const std::string& text) {
  size_t end = 0;
  const double number = std::stod(text, &end);
  const std::string unit = text.substr(end);
  const std::map<std::string, int> shifts{{"", 0}, {"KiB", 10}, {"MiB", 20}, {"GiB", 30}};
  if (!shifts.contains(unit)) throw std::runtime_error("unknown size " + text);
  return static_cast<size_t>(number * static_cast<double>(size_t{1} << shifts.at(unit)));
}

Options ParseOptions(int argc, char** argv) {
  Options options;
  const std::map<std::string, std::function<void(const std::string&)>> with_value{
      {"--reference", [&](const std::string& value) { options.reference = value; }},
      {"--pin", [&](const std::string& value) { options.pins = value; }},
      {"--batch", [&](const std::string& value) { options.batch = std::max(1LL, std::stoll(value)); }},
      {"--workspace", [&](const std::string& value) { options.workspace = ParseSize(value); }},
      {"--runs", [&](const std::string& value) { options.runs = std::max(1, std::stoi(value)); }},
      {"--tactics", [&](const std::string& value) { options.all_tactics = value == "all"; }},
      {"--name", [&](const std::string& value) { options.name = value; }},
      {"--mode", [&](const std::string& value) { options.mode = value; }},
      {"--level", [&](const std::string& value) { options.level = std::stoi(value); }},
      {"--timing-cache", [&](const std::string& value) { options.timing_cache = value; }},
      {"--layers", [&](const std::string& value) { options.layers = value; }},
      {"--json", [&](const std::string& value) { options.json = value; }},
  };
  std::vector<std::string> positional;
  for (int i = 1; i < argc; ++i) {
    const std::string argument = argv[i];
    if (argument == "--fp16") {
      options.fp16 = true;
    } else if (argument == "--device") {
      options.device_only = true;
    } else if (with_value.contains(argument)) {
      if (++i == argc) throw std::runtime_error(argument + " needs a value");
      with_value.at(argument)(argv[i]);
    } else if (argument.starts_with("--")) {
      throw std::runtime_error("unknown option " + argument);
    } else {
      positional.push_back(argument);
    }
  }
  if (options.device_only) return options;
  if (positional.size() != 2 || options.reference.empty())
    throw std::runtime_error("MODEL.onnx, SAMPLES_DIR and --reference are needed");
  options.model = positional[0];
  options.samples = positional[1];
  if (options.name.empty()) options.name = options.model;
  if (options.mode.empty()) options.mode = !options.fp16 ? "fp32" : options.pins.empty() ? "fp16" : "pinned";
  return options;
}

std::string ToJson(const Options& options, const Result& result) {
  const Difference& difference = result.difference;
  std::ostringstream json;
  json << "{\"model\": " << Quoted(options.name) << ", \"mode\": " << Quoted(options.mode)
       << ", \"error\": " << (result.error.empty() ? "null" : Quoted(result.error))
       << ", \"device\": " << Quoted(result.device) << ", \"tensorrt\": " << Quoted(result.tensorrt)
       << ", \"batch\": " << (result.batched ? options.batch : 1)
       << ", \"build_seconds\": " << Number(result.build_seconds)
       << ", \"engine_bytes\": " << static_cast<int64_t>(result.engine_bytes)
       << ", \"median_ms\": " << Number(result.median_ms) << ", \"p99_ms\": " << Number(result.p99_ms)
       << ", \"graph_median_ms\": " << Number(result.graph_median_ms) << ", \"runs\": " << options.runs
       << ", \"samples\": " << result.samples << ", \"outputs\": " << difference.outputs
       << ", \"nonfinite\": " << difference.nonfinite << ", \"max_abs\": " << Number(difference.max_abs)
       << ", \"max_reference\": " << Number(difference.max_reference)
       << ", \"rel_l2\": " << Number(difference.rel_l2) << ", \"integers\": " << difference.integers
       << ", \"flips\": " << difference.flips << ", \"layers\": " << result.layers
       << ", \"engine_layers\": " << result.engine_layers << ", \"pinned_layers\": " << result.pinned_layers
       << ", \"unmatched_pins\": [";
  for (size_t i = 0; i < result.unmatched_pins.size(); ++i)
    json << (i > 0 ? ", " : "") << Quoted(result.unmatched_pins[i]);
  json << "], \"builder_warnings\": " << result.builder_warnings << "}";
  return json.str();
}

/// Names the GPU, or says clearly that there is none: TensorRT itself would only fail to make a builder.
void FindDevice(Result* result) {
  int count = 0;
  const cudaError_t status = cudaGetDeviceCount(&count);
  if (status != cudaSuccess || count == 0)
    throw std::runtime_error(std::string("no CUDA device: ") +
                             (status != cudaSuccess ? cudaGetErrorString(status) : "none found"));
  cudaDeviceProp properties{};
  CheckCuda(cudaGetDeviceProperties(&properties, 0), "cudaGetDeviceProperties");
  result->device = properties.name;
}

int Run(const Options& options) {
  Result result;
  const int version = getInferLibVersion();
  result.tensorrt = std::to_string(version / 1000) + "." + std::to_string(version / 100 % 10) + "." +
                    std::to_string(version % 100);
  try {
    FindDevice(&result);
    if (options.device_only) {
      int driver = 0, runtime = 0;
      cudaDriverGetVersion(&driver);
      cudaRuntimeGetVersion(&runtime);
      std::cout << result.device << ", CUDA driver " << driver << ", runtime " << runtime << ", TensorRT "
                << result.tensorrt << "\n";
      return 0;
    }
    const std::vector<ArraySet> samples = LoadArrays(options.samples);
    const std::vector<ArraySet> references = LoadArrays(options.reference);
    Session session;
    Build(options, samples, &session, &result);
    CompareAll(samples, references, options, &session, &result);
    Measure(samples.front(), options, &session, &result);
    WriteLayers(options.layers, session);
  } catch (const std::exception& error) {
    result.error = error.what();
    std::cerr << "probe: " << result.error << "\n";
    if (options.device_only) return 3;
  }
  const std::string json = ToJson(options, result);
  std::cout << json << std::endl;
  if (!options.json.empty()) std::ofstream(options.json, std::ios::app) << json << "\n";
  return result.error.empty() ? 0 : 3;
}

}  // namespace
}  // namespace halfsafe::bench

int main(int argc, char** argv) {
  try {
    return halfsafe::bench::Run(halfsafe::bench::ParseOptions(argc, argv));
  } catch (const std::exception& error) {
    std::cerr << "probe: " << error.what() << "\n" << halfsafe::bench::kUsage;
    return 2;
  }
}
