#include <algorithm>

#include "halfsafe/model.h"
#include "model/graph_index.h"
#include "model/runnable.h"
#include "runtime/session.h"

namespace halfsafe {

void CompleteTypes(Model* model, const std::vector<std::filesystem::path>& custom_op_libraries) {
  const GraphIndex& index = model->index();
  const auto open = [](const TensorInfo& tensor) {
    return tensor.graph == 0 && tensor.kind == TensorKind::kActivation && tensor.is_tensor &&
           tensor.dtype == DType::kUndefined;
  };
  if (std::none_of(index.tensors().begin(), index.tensors().end(), open)) return;
  const std::optional<Model> part = RunnablePart(*model, !custom_op_libraries.empty());
  const GraphIndex& runnable = part ? part->index() : index;
  SessionModel marked = MakeSessionModel(part ? *part : *model);
  for (const TensorInfo& tensor : index.tensors()) {
    if (open(tensor) && !tensor.graph_output && runnable.FindTensor(0, tensor.local) >= 0)
      marked.proto.mutable_graph()->add_output()->set_name(tensor.local);
  }
  SessionOptions options;
  options.optimization = ORT_DISABLE_ALL;
  options.custom_op_libraries = custom_op_libraries;
  const Session session(marked, options);
  std::map<std::string, DType> types;
  for (size_t i = 0; i < session.output_names().size(); ++i) {
    if (session.output_dtype(i) != DType::kUndefined)
      types[session.output_names()[i]] = session.output_dtype(i);
  }
  std::erase_if(types, [](const auto& entry) { return entry.first.starts_with(kTailPrefix); });
  model->SetKnownTypes(std::move(types));
}

}  // namespace halfsafe
