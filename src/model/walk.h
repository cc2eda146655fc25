#pragma once

#include <onnx/onnx_pb.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace halfsafe {

/// Bytes that the elements of `tensor` take in raw form. Throws BadInput for negative dimensions, sizes that
/// overflow and element types without a fixed size.
uint64_t TensorByteSize(const onnx::TensorProto& tensor);

/// Number of elements by dims. Throws like TensorByteSize.
uint64_t TensorElementCount(const onnx::TensorProto& tensor);

/// Calls `visit` for every dense tensor constant of `graph` and the graphs inside it, always in the same
/// order: initializers, then tensor attributes of the nodes in order.
void ForEachTensorConstant(const onnx::GraphProto& graph,
                           const std::function<void(const onnx::TensorProto&)>& visit);
void ForEachMutableTensorConstant(onnx::GraphProto* graph,
                                  const std::function<void(onnx::TensorProto*)>& visit);

/// `graph` and every graph inside it, each before those inside it, in the order of the nodes. The position in
/// this list is the number that GraphIndex gives a graph, and what tells bodies apart in copies of a model:
/// their paths may be equal.
std::vector<onnx::GraphProto*> AllGraphs(onnx::GraphProto* graph);

/// The name that a node goes by inside its graph: its own, or its first output's where it has none.
const std::string& LocalNodeName(const onnx::NodeProto& node);

/// Tensors up to this many bytes stay with the graph wherever larger ones are kept apart.
inline constexpr size_t kSmallTensor = 1024;

/// A copy of `model` whose tensors of more than `largest` raw bytes keep dims and type and lose their data.
/// Large weights are never copied on the way.
onnx::ModelProto WithoutLargeTensors(const onnx::ModelProto& model, size_t largest);

/// The attribute called `name`, or nullptr.
const onnx::AttributeProto* FindAttribute(const onnx::NodeProto& node, std::string_view name);
int64_t IntAttribute(const onnx::NodeProto& node, std::string_view name, int64_t otherwise);

/// Whether a domain is that of ONNX's own operators, which has two names: "" and "ai.onnx".
bool IsStandard(std::string_view domain);

/// The opset version that the model imports for `domain` ("" and "ai.onnx" are one); 0 when it imports none.
int OpsetVersion(const onnx::ModelProto& model, const std::string& domain);

}  // namespace halfsafe
