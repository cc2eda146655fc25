#pragma once

#include <onnxruntime_cxx_api.h>

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "halfsafe/provider.h"
#include "halfsafe/sample.h"
#include "runtime/outputs.h"
#include "runtime/session_model.h"
#include "runtime/session_threads.h"
#include "runtime/tap.h"

namespace halfsafe {

struct SessionOptions {
  Provider provider = Provider::kCpu;
  int threads = 0;  ///< 0: one per core.
  /// One of the sessions that run at the same time: each has half of the threads.
  bool beside_another = false;
  GraphOptimizationLevel optimization = ORT_ENABLE_ALL;
  std::vector<std::filesystem::path> custom_op_libraries;
  TapHandler* taps = nullptr;  ///< Must outlive the session.
};

/// Whether ONNX Runtime's words say that it has no kernel or no schema for an operator.
bool SaysLacking(const std::string& message);

/// How many threads a session has.
int ThreadsOf(const SessionOptions& options);

/// Whether `threads`, as in SessionOptions, are enough to run two sessions at the same time.
bool ServesTwoSessions(int threads);

/// ONNX Runtime behind this project's types and errors.
class Session {
 public:
  /// Throws Error(kBadInput) when ONNX Runtime refuses the model, naming operator and option where an
  /// operator is unknown; Error(kUnavailable) when the provider is not there.
  Session(const SessionModel& model, const SessionOptions& options);
  ~Session();

  const std::vector<std::string>& output_names() const { return output_names_; }
  DType output_dtype(size_t index) const;
  /// Runs one sample; its inputs may come in any order. Throws Error(kBadInput) when a node fails.
  std::vector<Ort::Value> Run(const Sample& sample);

 private:
  struct Ops;
  void AddOps(const SessionModel& model, const SessionOptions& options, Ort::SessionOptions* native);
  void AddWeights(const SessionModel& model, Ort::SessionOptions* native);

  SessionThreads threads_;
  std::unique_ptr<Ops> ops_;
  std::vector<SessionWeight> fed_;
  std::vector<Ort::Value> weights_;  ///< Views of the others.
  std::unique_ptr<Ort::Session> session_;
  std::vector<std::string> output_names_;
};

}  // namespace halfsafe
