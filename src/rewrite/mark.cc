#include <fmt/format.h>

#include <unordered_set>

#include "base/pattern.h"
#include "base/text.h"
#include "halfsafe/error.h"
#include "halfsafe/rewrite.h"
#include "model/graph_index.h"
#include "model/value_info.h"

namespace halfsafe {

Model MarkOutputs(const Model& model, const std::string& pattern) {
  const NamePattern wanted("--tensors", pattern);
  const GraphIndex& index = model.index();
  onnx::ModelProto proto = model.proto();
  std::unordered_set<std::string> outputs;
  for (const auto& output : proto.graph().output()) outputs.insert(output.name());
  size_t marked = 0;
  std::vector<std::string> names;
  for (const TensorInfo& tensor : index.tensors()) {
    // Only the main graph has outputs, and what is given (inputs, constants) needs no computing.
    if (tensor.graph != 0 || tensor.kind != TensorKind::kActivation) continue;
    names.push_back(tensor.name);
    if (!wanted.Matches(tensor.name)) continue;
    ++marked;
    if (outputs.contains(tensor.local)) continue;
    Declare(tensor, tensor.dtype, proto.mutable_graph()->add_output());
  }
  if (marked == 0)
    throw BadUsage(fmt::format("--tensors '{}' matches no tensor{}", pattern, DidYouMean(pattern, names)));
  return Model(model, std::move(proto));
}

}  // namespace halfsafe
