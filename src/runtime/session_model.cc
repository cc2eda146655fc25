#include "runtime/session_model.h"

#include <algorithm>
#include <span>
#include <unordered_map>
#include <unordered_set>

#include "model/external_data.h"
#include "model/graph_index.h"
#include "model/walk.h"
#include "runtime/noise.h"

namespace halfsafe {
namespace {

/// Gives tensors inside bodies and in attributes their data back: only weights of the main graph can stay
/// outside.
void RestoreOtherTensors(const Model& model,
                         const std::unordered_map<std::string, const onnx::TensorProto*>& weights,
                         onnx::ModelProto* proto) {
  std::unordered_set<const onnx::TensorProto*> outside;
  for (const auto& [name, tensor] : weights) outside.insert(tensor);
  // Constant nodes became initializers behind the others, so the copies are paired up by graph.
  const std::function<void(const onnx::GraphProto&, onnx::GraphProto*)> restore =
      [&](const onnx::GraphProto& from, onnx::GraphProto* to) {
        const auto fill = [&](const onnx::TensorProto& source, onnx::TensorProto* copy) {
          if (outside.contains(&source)) return;
          const TensorBytes raw = model.RawBytes(source);
          if (IsExternal(source) || !raw.bytes.empty()) PutInside(raw.bytes, copy);
        };
        for (int i = 0; i < from.initializer_size(); ++i)
          fill(from.initializer(i), to->mutable_initializer(i));
        int next = 0;
        for (const auto& node : from.node()) {
          const bool taken =
              node.output_size() > 0 && weights.contains(node.output(0)) && &from == &model.proto().graph();
          if (taken) continue;
          onnx::NodeProto* copy = to->mutable_node(next++);
          for (int a = 0; a < node.attribute_size(); ++a) {
            if (node.attribute(a).has_t())
              fill(node.attribute(a).t(), copy->mutable_attribute(a)->mutable_t());
            if (node.attribute(a).has_g())
              restore(node.attribute(a).g(), copy->mutable_attribute(a)->mutable_g());
          }
        }
      };
  restore(model.proto().graph(), proto->mutable_graph());
}

/// Weights of a large model up to this size are copied and packed like any other: they don't matter.
constexpr size_t kSmallToCopy = 64 << 10;

/// Lists a weight among the graph's inputs, where it may be already, with a default value.
void AddInput(const std::string& name, DType dtype, std::span<const int64_t> shape, onnx::GraphProto* graph) {
  const auto listed = std::find_if(graph->input().begin(), graph->input().end(),
                                   [&](const auto& input) { return input.name() == name; });
  if (listed != graph->input().end()) return;
  auto* input = graph->add_input();
  input->set_name(name);
  auto* type = input->mutable_type()->mutable_tensor_type();
  type->set_elem_type(static_cast<int>(dtype));
  type->mutable_shape();
  for (const int64_t dim : shape) type->mutable_shape()->add_dim()->set_dim_value(dim);
}

/// Turns the main graph's Constant nodes into initializers. Returns where the data of all initializers lies.
std::unordered_map<std::string, const onnx::TensorProto*> MoveConstantsToInitializers(
    const Model& model, onnx::GraphProto* graph) {
  std::unordered_map<std::string, const onnx::TensorProto*> sources;
  for (const auto& tensor : model.proto().graph().initializer()) sources[tensor.name()] = &tensor;
  google::protobuf::RepeatedPtrField<onnx::NodeProto> nodes;
  nodes.Swap(graph->mutable_node());
  for (int i = 0; i < nodes.size(); ++i) {
    const onnx::NodeProto& original = model.proto().graph().node(i);
    const auto* value = FindAttribute(original, "value");
    const bool constant = original.op_type() == "Constant" && original.domain().empty() && value != nullptr;
    if (!constant) {
      graph->add_node()->Swap(nodes.Mutable(i));
      continue;
    }
    onnx::TensorProto* initializer = graph->add_initializer();
    initializer->Swap(const_cast<onnx::AttributeProto*>(FindAttribute(nodes.Get(i), "value"))->mutable_t());
    initializer->set_name(original.output(0));
    sources[original.output(0)] = &value->t();
    // Before IR version 4 every initializer has to be listed; ONNX Runtime insists where nothing reads it.
    if (model.proto().ir_version() < 4) {
      const onnx::TensorProto& tensor = value->t();
      AddInput(original.output(0), static_cast<DType>(tensor.data_type()),
               std::span(tensor.dims().data(), static_cast<size_t>(tensor.dims_size())), graph);
    }
  }
  return sources;
}

SessionWeight TakeOut(const Model& model, const onnx::TensorProto& source, const std::string& name) {
  TensorBytes raw = model.RawBytes(source);
  return {name,
          static_cast<DType>(source.data_type()),
          {source.dims().begin(), source.dims().end()},
          raw.bytes,
          std::move(raw.owner),
          false};
}

/// Operators of ONNX take any operand as an input. Some of ONNX Runtime's own and of libraries need
/// constants, and compute something else without a word where they don't get them.
bool MayBeInput(const Model& model, const std::string& name) {
  const GraphIndex& index = model.index();
  const std::vector<TensorUse>& uses = index.tensor(index.FindTensor(0, name)).uses;
  return std::all_of(uses.begin(), uses.end(),
                     [&](const TensorUse& use) { return index.node(use.node).schema != nullptr; });
}

/// Whether a weight is nothing but rows to pick from, as embeddings are: no kernel packs it.
bool IsLookedUp(const Model& model, const std::string& name) {
  const GraphIndex& index = model.index();
  const TensorInfo& tensor = index.tensor(index.FindTensor(0, name));
  return !tensor.uses.empty() && !tensor.graph_output &&
         std::all_of(tensor.uses.begin(), tensor.uses.end(), [&](const TensorUse& use) {
           const onnx::NodeProto& node = *index.node(use.node).proto;
           return node.op_type() == "Gather" && node.domain().empty() && use.slot == 0;
         });
}

/// Says that the values are handed over beside the graph.
void ReferToMemory(onnx::TensorProto* initializer) {
  initializer->clear_raw_data();
  initializer->clear_external_data();
  initializer->set_data_location(onnx::TensorProto_DataLocation_EXTERNAL);
  auto* entry = initializer->add_external_data();
  entry->set_key("location");
  entry->set_value("in-memory");
}

/// ONNX Runtime refuses two nodes of one name. Other runtimes don't, and no name is needed here.
void ClearSharedNames(onnx::ModelProto* proto) {
  for (onnx::GraphProto* graph : AllGraphs(proto->mutable_graph())) {
    std::unordered_set<std::string> taken;
    for (auto& node : *graph->mutable_node()) {
      if (!taken.insert(node.name()).second) node.clear_name();
    }
  }
}

}  // namespace

bool IsLarge(const Model& model) {
  constexpr uint64_t kLarge = uint64_t{512} << 20;
  uint64_t bytes = 0;
  ForEachTensorConstant(model.proto().graph(), [&](const onnx::TensorProto& tensor) {
    if (IsFloat(static_cast<DType>(tensor.data_type()))) bytes += TensorElementCount(tensor) * sizeof(float);
  });
  return bytes > kLarge;
}

SessionModel MakeSessionModel(const Model& model, const WeightOptions& options) {
  SessionModel result;
  result.source = &model;
  result.proto = WithoutLargeTensors(model.proto(), options.large);
  result.proto.clear_metadata_props();  // ONNX Runtime can be told to take options from there.
  const std::unordered_map<std::string, const onnx::TensorProto*> sources =
      MoveConstantsToInitializers(model, result.proto.mutable_graph());
  RestoreOtherTensors(model, sources, &result.proto);
  const bool feed = options.feed == Feed::kOfAll || (options.feed == Feed::kOfLargeModels && IsLarge(model));
  onnx::GraphProto* graph = result.proto.mutable_graph();
  google::protobuf::RepeatedPtrField<onnx::TensorProto> initializers;
  initializers.Swap(graph->mutable_initializer());
  for (onnx::TensorProto& initializer : initializers) {
    const onnx::TensorProto& source = *sources.at(initializer.name());
    const bool inside = !IsExternal(source) && source.raw_data().empty();
    const uint64_t size = inside ? 0 : TensorByteSize(source);
    if (size <=
        (IsSixteenBit(static_cast<DType>(source.data_type())) ? options.large_16_bit : options.large)) {
      if (IsExternal(source)) PutInside(model.RawBytes(source).bytes, &initializer);
      graph->add_initializer()->Swap(&initializer);
      continue;
    }
    SessionWeight weight = TakeOut(model, source, initializer.name());
    if (options.adapt) {
      options.adapt(&weight);
      model.Forget(source);  // Its bytes were most likely read for the last time.
    }
    weight.fed = size > kSmallToCopy && IsFloat(weight.dtype) && options.feed != Feed::kOfNone &&
                 (IsLookedUp(model, weight.name) || (feed && MayBeInput(model, weight.name)));
    if (weight.fed) {
      AddInput(weight.name, weight.dtype, weight.shape, graph);
    } else {
      ReferToMemory(&initializer);
      graph->add_initializer()->Swap(&initializer);
    }
    result.weights.push_back(std::move(weight));
  }
  result.noise = KeyNoise(model.index(), &result.proto);
  ClearSharedNames(&result.proto);
  return result;
}

}  // namespace halfsafe
