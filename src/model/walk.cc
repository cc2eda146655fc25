#include "model/walk.h"

#include <fmt/format.h>
#include <google/protobuf/util/field_mask_util.h>

#include <algorithm>
#include <initializer_list>

#include "halfsafe/error.h"
#include "halfsafe/sample.h"

namespace halfsafe {
namespace {

/// Bits of one element; 0 where the type has no fixed size.
uint64_t ElementBits(int type) {
  if (type == onnx::TensorProto::COMPLEX64) return 64;
  if (type == onnx::TensorProto::COMPLEX128) return 128;
  return DTypeBits(static_cast<DType>(type));
}

bool HoldsLarge(const onnx::GraphProto& graph, size_t largest);

bool HoldsLarge(const onnx::NodeProto& node, size_t largest) {
  return std::any_of(node.attribute().begin(), node.attribute().end(), [&](const auto& attribute) {
    return attribute.t().raw_data().size() > largest || HoldsLarge(attribute.g(), largest);
  });
}

bool HoldsLarge(const onnx::GraphProto& graph, size_t largest) {
  const auto large = [&](const onnx::TensorProto& tensor) { return tensor.raw_data().size() > largest; };
  return std::any_of(graph.initializer().begin(), graph.initializer().end(), large) ||
         std::any_of(graph.node().begin(), graph.node().end(),
                     [&](const onnx::NodeProto& node) { return HoldsLarge(node, largest); });
}

/// Copies every field of a message but those named, whatever fields ONNX adds.
template <typename Message>
void CopyBut(std::initializer_list<std::string_view> names, const Message& from, Message* to) {
  using google::protobuf::util::FieldMaskUtil;
  const auto all = FieldMaskUtil::GetFieldMaskForAllFields<Message>();
  google::protobuf::FieldMask kept;
  for (const auto& path : all.paths()) {
    if (std::find(names.begin(), names.end(), path) == names.end()) kept.add_paths(path);
  }
  FieldMaskUtil::MergeMessageTo(from, kept, FieldMaskUtil::MergeOptions(), to);
}

void CopyTensor(const onnx::TensorProto& from, size_t largest, onnx::TensorProto* to) {
  if (from.raw_data().size() <= largest) {
    *to = from;
  } else {
    CopyBut({"raw_data"}, from, to);
  }
}

void CopyGraph(const onnx::GraphProto& from, size_t largest, onnx::GraphProto* to);

void CopyNode(const onnx::NodeProto& from, size_t largest, onnx::NodeProto* to) {
  if (!HoldsLarge(from, largest)) {
    *to = from;
    return;
  }
  CopyBut({"attribute"}, from, to);
  for (const auto& attribute : from.attribute()) {
    onnx::AttributeProto* copy = to->add_attribute();
    CopyBut({"t", "g"}, attribute, copy);
    if (attribute.has_t()) CopyTensor(attribute.t(), largest, copy->mutable_t());
    if (attribute.has_g()) CopyGraph(attribute.g(), largest, copy->mutable_g());
  }
}

void CopyGraph(const onnx::GraphProto& from, size_t largest, onnx::GraphProto* to) {
  CopyBut({"initializer", "node"}, from, to);
  for (const auto& tensor : from.initializer()) CopyTensor(tensor, largest, to->add_initializer());
  for (const auto& node : from.node()) CopyNode(node, largest, to->add_node());
}

}  // namespace

uint64_t TensorElementCount(const onnx::TensorProto& tensor) {
  uint64_t count = 1;
  for (const int64_t dim : tensor.dims()) {
    if (dim < 0 || __builtin_mul_overflow(count, static_cast<uint64_t>(dim), &count)) {
      throw BadInput(fmt::format("tensor {} has dimensions [{}], which no tensor can have", tensor.name(),
                                 fmt::join(tensor.dims(), ", ")));
    }
  }
  return count;
}

uint64_t TensorByteSize(const onnx::TensorProto& tensor) {
  const uint64_t count = TensorElementCount(tensor);
  const uint64_t bits = ElementBits(tensor.data_type());
  if (bits == 0) {
    throw BadInput(fmt::format("tensor {} has {} elements, which have no raw form", tensor.name(),
                               DTypeName(static_cast<DType>(tensor.data_type()))));
  }
  uint64_t total = 0;
  if (__builtin_mul_overflow(count, bits, &total)) {
    throw BadInput(fmt::format("tensor {} is too large: {} elements", tensor.name(), count));
  }
  return (total + 7) / 8;
}

void ForEachTensorConstant(const onnx::GraphProto& graph,
                           const std::function<void(const onnx::TensorProto&)>& visit) {
  for (const auto& tensor : graph.initializer()) visit(tensor);
  for (const auto& node : graph.node()) {
    for (const auto& attribute : node.attribute()) {
      if (attribute.has_t()) visit(attribute.t());
      if (attribute.has_g()) ForEachTensorConstant(attribute.g(), visit);
    }
  }
}

void ForEachMutableTensorConstant(onnx::GraphProto* graph,
                                  const std::function<void(onnx::TensorProto*)>& visit) {
  // The order is the other function's; the cast is safe because `graph` is mutable.
  ForEachTensorConstant(
      *graph, [&](const onnx::TensorProto& tensor) { visit(const_cast<onnx::TensorProto*>(&tensor)); });
}

std::vector<onnx::GraphProto*> AllGraphs(onnx::GraphProto* graph) {
  std::vector<onnx::GraphProto*> graphs = {graph};
  for (auto& node : *graph->mutable_node()) {
    for (auto& attribute : *node.mutable_attribute()) {
      if (!attribute.has_g()) continue;
      const auto inside = AllGraphs(attribute.mutable_g());
      graphs.insert(graphs.end(), inside.begin(), inside.end());
    }
  }
  return graphs;
}

const std::string& LocalNodeName(const onnx::NodeProto& node) {
  static const std::string kNone;
  if (!node.name().empty()) return node.name();
  for (const auto& output : node.output()) {
    if (!output.empty()) return output;
  }
  return kNone;
}

onnx::ModelProto WithoutLargeTensors(const onnx::ModelProto& model, size_t largest) {
  onnx::ModelProto copy;
  CopyBut({"graph"}, model, &copy);
  CopyGraph(model.graph(), largest, copy.mutable_graph());
  return copy;
}

const onnx::AttributeProto* FindAttribute(const onnx::NodeProto& node, std::string_view name) {
  for (const auto& attribute : node.attribute()) {
    if (attribute.name() == name) return &attribute;
  }
  return nullptr;
}

int64_t IntAttribute(const onnx::NodeProto& node, std::string_view name, int64_t otherwise) {
  const auto* attribute = FindAttribute(node, name);
  return attribute != nullptr && attribute->has_i() ? attribute->i() : otherwise;
}

bool IsStandard(std::string_view domain) { return domain.empty() || domain == "ai.onnx"; }

int OpsetVersion(const onnx::ModelProto& model, const std::string& domain) {
  const auto canonical = [](const std::string& name) { return name == "ai.onnx" ? std::string() : name; };
  for (const auto& import : model.opset_import()) {
    if (canonical(import.domain()) == canonical(domain)) return static_cast<int>(import.version());
  }
  return 0;
}

}  // namespace halfsafe
