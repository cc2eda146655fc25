#include "observe/output_recorder.h"

#include <fmt/format.h>

#include "base/pattern.h"
#include "base/text.h"
#include "halfsafe/error.h"

namespace halfsafe {

OutputRecorder::OutputRecorder(const GraphIndex& index, const ScanOptions& options) {
  if (options.save_outputs.empty()) return;
  const NamePattern wanted("--tensors", options.save_tensors);
  std::vector<std::string> names;
  for (const TensorInfo& tensor : index.tensors()) {
    if (tensor.kind != TensorKind::kActivation || tensor.graph != 0 || !tensor.is_tensor) continue;
    names.push_back(tensor.name);
    if (!wanted.Matches(tensor.name)) continue;
    if (chosen_.insert(tensor.name).second) in_order_.push_back(tensor.name);
  }
  if (chosen_.empty()) {
    throw BadUsage(fmt::format("--tensors '{}' matches no tensor{}", options.save_tensors,
                               DidYouMean(options.save_tensors, names)));
  }
  writer_ = std::make_unique<RecordedOutputsWriter>(options.save_outputs, "halfsafe");
}

void OutputRecorder::Expose(onnx::GraphProto* graph) const {
  std::unordered_set<std::string> outputs;
  for (const auto& output : graph->output()) outputs.insert(output.name());
  for (const std::string& name : in_order_) {
    if (!outputs.contains(name)) graph->add_output()->set_name(name);
  }
}

void OutputRecorder::Add(const Session& session, const std::vector<Ort::Value>& values) {
  if (!writer_) return;
  std::vector<NamedArray> outputs;
  for (size_t i = 0; i < values.size(); ++i) {
    const std::string& name = session.output_names()[i];
    if (!chosen_.contains(name)) continue;
    for (NamedArray& array : CopyArrays(name, View(values[i], name))) outputs.push_back(std::move(array));
  }
  writer_->Add(outputs);
}

void OutputRecorder::Commit() {
  if (writer_) writer_->Commit();
}

}  // namespace halfsafe
