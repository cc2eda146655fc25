#pragma once

#include <onnx/onnx_pb.h>

#include <compare>
#include <limits>
#include <map>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "halfsafe/error.h"
#include "halfsafe/plan.h"
#include "halfsafe/rewrite.h"
#include "model/graph_index.h"
#include "model/precision_ports.h"
#include "model/scale_rules.h"
#include "model/walk.h"
#include "model/weight_conversion.h"

namespace halfsafe {

/// One way in which a tensor's value is found in the result.
struct Form {
  DType dtype = DType::kFloat;
  int exponent = 0;  ///< The value is x * 2^-exponent.
  /// The value is clamped to these first, for a reader to which nothing beyond makes a difference.
  double lowest = -std::numeric_limits<double>::infinity();
  double highest = std::numeric_limits<double>::infinity();

  // NOLINTNEXTLINE(modernize-use-nullptr): clang-tidy sees a 0 in what is generated.
  auto operator<=>(const Form&) const = default;
};

/// What the passes read and change. Numbers are those of the index of the original model.
struct Rewriter {
  const Model& model;
  const Plan& plan;
  const GraphIndex& index;
  const PrecisionPorts ports;
  const ScaleRules scales;

  onnx::ModelProto proto;  ///< The copy that becomes the result.
  /// Per tensor constant of the original, its copy. FP32 weights have lost their data there: ConvertConstants
  /// fills it.
  std::unordered_map<const onnx::TensorProto*, onnx::TensorProto*> copies;
  std::vector<onnx::NodeProto*> nodes;    ///< Per node of the index, its copy.
  std::vector<onnx::GraphProto*> graphs;  ///< Per graph of the index, its copy.

  Exponents exponents;                          ///< Per tensor: what it is stored with.
  std::vector<std::vector<int>> read_exponent;  ///< Per node and input: what it is read with.
  std::vector<DType> precision;                 ///< Per node: FLOAT, FLOAT16 or BFLOAT16.
  std::vector<DType> stored;                    ///< Per FP32 tensor of the original: its new type.
  /// Per tensor: the name under which each form of it is found. The stored form is always there.
  std::vector<std::map<Form, std::string>> names;
  /// Nodes to insert: behind a node of the index, and at the start of a graph.
  std::vector<std::vector<onnx::NodeProto>> behind_node;
  std::vector<std::vector<onnx::NodeProto>> at_start;
  /// What the inserted nodes write: number of the graph, and name.
  std::set<std::pair<size_t, std::string>> inserted;
  std::unordered_set<std::string> taken;  ///< All tensor names of all graphs.
  std::unordered_map<std::string, int>
      last_numbers;                   ///< By names that were taken already: what NewName added last.
  std::unordered_map<int, DType> io;  ///< What the plan says of inputs and outputs, by tensor.
  std::unordered_map<int, double> clamps;  ///< What the plan says of the size of values, by tensor.

  std::map<std::pair<float, DType>, std::string> scalars;

  /// Throws Error(kBadInput) when the plan is of another model or opset.
  Rewriter(const Model& original, const Plan& the_plan);

  /// The type that a reader whose type `decider` decides wants.
  DType Wanted(int decider) const;
  /// The form that reader `reader` of `tensor` (see TensorPorts::readers) wants.
  Form WantedBy(int tensor, size_t reader) const;
  /// The form that the writer of an activation or input leaves it in.
  Form StoredForm(int tensor) const;
  /// A tensor name that the model doesn't have yet, made from `base`.
  std::string NewName(const std::string& base, const Form& form);
  /// A new node that follows what gives `tensor` its value and writes `output`.
  onnx::NodeProto& InsertBehind(const TensorInfo& tensor, const char* op, const std::string& name,
                                const std::string& output);
  /// The name of a scalar constant of the main graph, made when first asked for.
  const std::string& Scalar(float value, DType dtype);
};

/// Runs all passes, which leaves the copy as it is to be.
void RunPasses(Rewriter* rewriter);
/// The copy as a model.
Model Finish(Rewriter* rewriter);

/// The element type that a precision stands for.
DType TypeOf(Precision precision);

/// Writes converted values into `tensor`, in place of all data that it has.
void SetTensor(std::span<const float> values, const WeightConversion& conversion, onnx::TensorProto* tensor);

/// Writes what is said in `findings` into the metadata of a node that has none yet.
void SetFindings(const NodeFindings& findings, onnx::NodeProto* node);
/// Takes all findings out of a model.
void ClearFindings(onnx::ModelProto* proto);

/// Lists a new initializer among the graph's inputs, which models before IR version 4 want.
void AddInitializerInput(const onnx::TensorProto& tensor, onnx::GraphProto* graph);

/// One step of the rewriting.
struct Pass {
  std::string_view name;
  void (*run)(Rewriter*);
};

/// The error for a plan that names a node, tensor, constant, input or output (`what`) that isn't there.
Error NotInModel(const char* what, const std::string& name, const GraphIndex& index);

void Rescale(Rewriter* rewriter);  ///< exponents and read_exponent from the plan; attributes that they scale.
void ChooseTypes(Rewriter* rewriter);  ///< precision and stored, from the plan.
void ConvertConstants(
    Rewriter* rewriter);               ///< Clamps and converts weights, each once per type that reads it.
void InsertCasts(Rewriter* rewriter);  ///< Names, Casts and multiplications for activations read in another
                                       ///< form than stored.
void ConnectReaders(Rewriter* rewriter);  ///< Every operand and output reads the name of the type it wants.
void RetypeAttributes(
    Rewriter* rewriter);  ///< Attributes that state a type: Cast's `to`, ConstantOfShape's `value`.
void RetypeValues(Rewriter* rewriter);  ///< Types of inputs, outputs and value_info.
void ConvertSequences(
    Rewriter* rewriter);  ///< Inputs and outputs that are sequences and that the plan's io gives 16 bits.
void KeepLoadable(
    Rewriter* rewriter);  ///< Other forms of what ONNX Runtime can't load, equal in all it computes.
void Annotate(Rewriter* rewriter);    ///< NodeFindings of the original's nodes.
void PlaceNodes(Rewriter* rewriter);  ///< Puts the inserted nodes into the graphs.

}  // namespace halfsafe
