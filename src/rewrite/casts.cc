#include <set>

#include "rewrite/rewriter.h"

namespace halfsafe {
namespace {

void AddCast(Rewriter* rewriter, const TensorInfo& tensor, const std::string& from, const std::string& to,
             DType dtype) {
  auto& place = tensor.producer >= 0 ? rewriter->behind_node[static_cast<size_t>(tensor.producer)]
                                     : rewriter->at_start[static_cast<size_t>(tensor.graph)];
  onnx::NodeProto& cast = place.emplace_back();
  cast.set_op_type("Cast");
  cast.set_name("Cast_" + to);
  cast.add_input(from);
  cast.add_output(to);
  auto* attribute = cast.add_attribute();
  attribute->set_name("to");
  attribute->set_type(onnx::AttributeProto::INT);
  attribute->set_i(static_cast<int>(dtype));
}

/// The type under which an output of the main graph must keep the tensor's name.
DType OutputType(const Rewriter& rewriter, int tensor) {
  const TensorInfo& info = rewriter.index.tensor(tensor);
  const auto& outputs = rewriter.ports.outputs_of(tensor);
  for (size_t i = 0; i < outputs.size(); ++i) {
    if (outputs[i].graph == 0) return rewriter.WantedBy(tensor, info.uses.size() + i);
  }
  return rewriter.stored[static_cast<size_t>(tensor)];
}

}  // namespace

void InsertCasts(Rewriter* rewriter) {
  for (size_t id = 0; id < rewriter->index.tensors().size(); ++id) {
    const TensorInfo& tensor = rewriter->index.tensors()[id];
    const int number = static_cast<int>(id);
    auto& names = rewriter->names[id];
    if (!names.empty()) continue;  // A constant.
    const DType stored = rewriter->stored[id];
    const TensorPorts& ports = rewriter->ports.of(number);
    names[stored] = tensor.local;
    if (ports.writer == kNoFloat) continue;
    std::set<DType> wanted;
    for (size_t reader = 0; reader < ports.readers.size(); ++reader)
      wanted.insert(rewriter->WantedBy(number, reader));
    wanted.erase(stored);
    const DType named = tensor.kind == TensorKind::kInput ? stored : OutputType(*rewriter, number);
    if (named != stored) {
      names[stored] = rewriter->NewName(tensor.local, stored);
      names[named] = tensor.local;
      rewriter->nodes[static_cast<size_t>(tensor.producer)]->set_output(tensor.producer_slot, names[stored]);
    }
    for (const DType dtype : wanted) {
      if (!names.contains(dtype)) names[dtype] = rewriter->NewName(tensor.local, dtype);
      AddCast(rewriter, tensor, names[stored], names[dtype], dtype);
    }
  }
}

void ConnectReaders(Rewriter* rewriter) {
  for (size_t id = 0; id < rewriter->index.tensors().size(); ++id) {
    const TensorInfo& tensor = rewriter->index.tensors()[id];
    const int number = static_cast<int>(id);
    const auto& names = rewriter->names[id];
    if (rewriter->ports.of(number).writer == kNoFloat) continue;
    const auto name = [&](size_t reader) {
      const auto found = names.find(rewriter->WantedBy(number, reader));
      return found != names.end() ? found->second : tensor.local;
    };
    for (size_t use = 0; use < tensor.uses.size(); ++use) {
      rewriter->nodes[static_cast<size_t>(tensor.uses[use].node)]->set_input(tensor.uses[use].slot,
                                                                             name(use));
    }
    const auto& outputs = rewriter->ports.outputs_of(number);
    for (size_t i = 0; i < outputs.size(); ++i) {
      if (outputs[i].graph == 0) continue;  // The main graph's outputs keep their names.
      rewriter->graphs[static_cast<size_t>(outputs[i].graph)]
          ->mutable_output(outputs[i].slot)
          ->set_name(name(tensor.uses.size() + i));
    }
  }
}

void PlaceNodes(Rewriter* rewriter) {
  std::vector<std::vector<size_t>> members(rewriter->graphs.size());
  for (size_t node = 0; node < rewriter->nodes.size(); ++node) {
    members[static_cast<size_t>(rewriter->index.nodes()[node].graph)].push_back(node);
  }
  // Inner graphs come after outer ones in number, and moving a node moves its bodies along, so inner graphs
  // go first.
  for (size_t graph = rewriter->graphs.size(); graph-- > 0;) {
    google::protobuf::RepeatedPtrField<onnx::NodeProto> nodes;
    nodes.Swap(rewriter->graphs[graph]->mutable_node());
    const auto append = [&](onnx::NodeProto* node) { rewriter->graphs[graph]->add_node()->Swap(node); };
    for (auto& node : rewriter->at_start[graph]) append(&node);
    for (size_t i = 0; i < members[graph].size(); ++i) {
      append(nodes.Mutable(static_cast<int>(i)));
      for (auto& node : rewriter->behind_node[members[graph][i]]) append(&node);
    }
  }
}

}  // namespace halfsafe
