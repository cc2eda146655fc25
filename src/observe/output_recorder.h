#pragma once

#include <memory>
#include <string>
#include <unordered_set>
#include <vector>

#include "halfsafe/ranges.h"
#include "model/graph_index.h"
#include "runtime/session.h"

namespace halfsafe {

/// Writes the chosen tensors of each run in Polygraphy's output JSON.
class OutputRecorder {
 public:
  /// Throws Error(kUsage) when the options' pattern is broken or matches nothing.
  OutputRecorder(const GraphIndex& index, const ScanOptions& options);

  bool Wants(const std::string& name) const { return chosen_.contains(name); }
  /// Makes the chosen tensors outputs.
  void Expose(onnx::GraphProto* graph) const;
  void Add(const Session& session, const std::vector<Ort::Value>& values);
  /// Makes the output appear.
  void Commit();

 private:
  std::unordered_set<std::string> chosen_;
  std::vector<std::string> in_order_;
  std::unique_ptr<RecordedOutputsWriter> writer_;
};

}  // namespace halfsafe
