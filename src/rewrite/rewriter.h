#pragma once

#include <onnx/onnx_pb.h>

#include <map>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "halfsafe/plan.h"
#include "model/graph_index.h"
#include "model/precision_ports.h"

namespace halfsafe {

/// What the passes read and change. Numbers are those of the index of the original model.
struct Rewriter {
  const Model& model;
  const Plan& plan;
  const GraphIndex index;
  const PrecisionPorts ports;

  onnx::ModelProto proto;  ///< The copy that becomes the result.
  /// Per tensor constant of the original, its copy. FP32 weights have lost their data there: ConvertConstants
  /// fills it.
  std::unordered_map<const onnx::TensorProto*, onnx::TensorProto*> copies;
  std::vector<onnx::NodeProto*> nodes;    ///< Per node of the index, its copy.
  std::vector<onnx::GraphProto*> graphs;  ///< Per graph of the index, its copy.

  std::vector<int> shift;        ///< Per tensor: its values are written times 2^shift (constants only).
  std::vector<DType> precision;  ///< Per node: FLOAT, FLOAT16 or BFLOAT16.
  std::vector<DType> stored;     ///< Per FP32 tensor of the original: its new type.
  /// Per tensor: the name under which each type of it is found. The stored type is always there.
  std::vector<std::map<DType, std::string>> names;
  /// Nodes to insert: behind a node of the index, and at the start of a graph.
  std::vector<std::vector<onnx::NodeProto>> behind_node;
  std::vector<std::vector<onnx::NodeProto>> at_start;
  std::unordered_set<std::string> taken;  ///< All tensor names of all graphs.

  Rewriter(const Model& original, const Plan& the_plan);

  /// The type that a reader whose type `decider` decides wants.
  DType Wanted(int decider) const;
  /// The type that reader `reader` of `tensor` (see TensorPorts::readers) wants.
  DType WantedBy(int tensor, size_t reader) const;
  /// A tensor name that the model doesn't have yet, made from `base`.
  std::string NewName(const std::string& base, DType dtype);
};

/// The element type that a precision stands for.
DType TypeOf(Precision precision);

/// One step of the rewriting.
struct Pass {
  std::string_view name;
  void (*run)(Rewriter*);
};

/// All passes in their order.
std::span<const Pass> Passes();

void Rescale(Rewriter* rewriter);  ///< Powers of two for constants and epsilons, from the plan's exponents.
void ChooseTypes(Rewriter* rewriter);  ///< precision and stored, from the plan.
void ConvertConstants(
    Rewriter* rewriter);               ///< Clamps and converts weights, each once per type that reads it.
void InsertCasts(Rewriter* rewriter);  ///< Names and Casts for activations read in another type than stored.
void ConnectReaders(Rewriter* rewriter);  ///< Every operand and output reads the name of the type it wants.
void RetypeAttributes(
    Rewriter* rewriter);  ///< Attributes that state a type: Cast's `to`, ConstantOfShape's `value`.
void RetypeValues(Rewriter* rewriter);  ///< Types of inputs, outputs and value_info.
void PlaceNodes(Rewriter* rewriter);    ///< Puts the inserted nodes into the graphs.

}  // namespace halfsafe
