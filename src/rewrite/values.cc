#include <algorithm>

#include "rewrite/rewriter.h"

namespace halfsafe {
namespace {

/// The type of each tensor name in each graph of the result, as far as this rewriting decided it.
std::vector<std::unordered_map<std::string, DType>> NewTypes(const Rewriter& rewriter) {
  std::vector<std::unordered_map<std::string, DType>> types(rewriter.graphs.size());
  for (size_t id = 0; id < rewriter.index.tensors().size(); ++id) {
    for (const auto& [form, name] : rewriter.names[id]) {
      if (rewriter.ports.of(static_cast<int>(id)).writer == kNoFloat) continue;
      types[static_cast<size_t>(rewriter.index.tensors()[id].graph)][name] = form.dtype;
    }
  }
  return types;
}

void Retype(onnx::ValueInfoProto* value, DType dtype) {
  if (value->has_type() && value->type().has_tensor_type()) {
    value->mutable_type()->mutable_tensor_type()->set_elem_type(static_cast<int>(dtype));
  }
}

}  // namespace

void RetypeValues(Rewriter* rewriter) {
  const auto types = NewTypes(*rewriter);
  for (size_t graph = 0; graph < rewriter->graphs.size(); ++graph) {
    const auto retype_all = [&](auto* values) {
      for (auto& value : *values) {
        if (const auto found = types[graph].find(value.name()); found != types[graph].end())
          Retype(&value, found->second);
      }
    };
    retype_all(rewriter->graphs[graph]->mutable_input());
    retype_all(rewriter->graphs[graph]->mutable_value_info());
    // A body may name a tensor of an outer graph as its output, so outputs are retyped by what they were
    // connected to.
    const GraphInfo& info = rewriter->index.graphs()[graph];
    for (size_t slot = 0; slot < info.outputs.size(); ++slot) {
      const int tensor = info.outputs[slot];
      if (rewriter->ports.of(tensor).writer == kNoFloat) continue;
      auto* output = rewriter->graphs[graph]->mutable_output(static_cast<int>(slot));
      for (const auto& [form, name] : rewriter->names[static_cast<size_t>(tensor)]) {
        if (name == output->name()) Retype(output, form.dtype);
      }
    }
  }
}

}  // namespace halfsafe
