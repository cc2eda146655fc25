#pragma once

#include <NvInfer.h>

#include <memory>
#include <string>
#include <vector>

#include "tensorrt/backend.h"
#include "tensorrt/warnings.h"

namespace halfsafe {

/// TensorRT's messages, from warnings on. Errors come when a call fails; the last one says why.
class Logger : public nvinfer1::ILogger {
 public:
  explicit Logger(Progress* progress) : warnings_(progress) {}
  void log(Severity severity, const char* message) noexcept override;

  /// The last error, behind ": "; nothing where there was none.
  std::string Reason() const;
  const std::vector<std::string>& warnings() const { return warnings_.all(); }
  void ForgetErrors() { last_error_.clear(); }

 private:
  std::string last_error_;
  Warnings warnings_;
};

/// TensorRT reports failure by null and false. Throws Error(`code`) with the reason from the log.
void Require(bool condition, const Logger& logger, ExitCode code, const std::string& what);

nvinfer1::Dims ToDims(const std::vector<int64_t>& shape);
std::vector<int64_t> ToShape(const nvinfer1::Dims& dims);
/// kUndefined for types that ONNX models here don't have.
DType ToDType(nvinfer1::DataType type);

BuiltEngine BuildNetwork(const EngineRequest& request, const BuildOptions& options, Logger* logger);
/// The logger and the runtime must outlive the result.
std::unique_ptr<LoadedEngine> LoadEngine(nvinfer1::IRuntime* runtime, std::span<const std::byte> engine,
                                         std::string_view where, Logger* logger);

}  // namespace halfsafe
