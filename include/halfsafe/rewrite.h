#pragma once

#include <string>
#include <vector>

#include "halfsafe/model.h"
#include "halfsafe/plan.h"

namespace onnx {
class NodeProto;
}

namespace halfsafe {

/// Why a node of a fixed model is as it is, in words. It stands in the node's metadata_props, which viewers
/// such as Netron show, under the names of these fields behind "halfsafe.". Empty: not said.
struct NodeFindings {
  std::string precision;  ///< "fp32" or "bf16"; FP16 needs no word.
  std::string reason;     ///< NodePlan's.
  std::string evidence;   ///< NodePlan's.
  std::string rescaled;   ///< Results, constants and attributes that have another power of two.
  std::string constants;  ///< Constants that it reads and whose values were changed.
  std::string inserted;  ///< Of a node that the original doesn't have, as a Cast or multiplication: what for.
};

/// The findings in a node's metadata.
NodeFindings FindingsOf(const onnx::NodeProto& node);

/// A fixed model without the findings in its metadata: evidence names samples, and not everybody is to read
/// these.
Model WithoutFindings(const Model& fixed);

/// Writes the plan into the model: a strongly typed mixed-precision model whose weights are converted once
/// per type that reads them, with Casts only where precisions meet, one per tensor and type. Names of nodes
/// and tensors stay. Findings go into the metadata of nodes. Throws Error(kBadInput) when the plan is of
/// another model or names what the model doesn't have.
Model Apply(const Model& model, const Plan& plan);

/// A node of a weakly typed model that may not run in FP16.
struct PinnedNode {
  std::string name;                        ///< As plans call it; for a node that was inserted, its own.
  Precision precision = Precision::kFp32;  ///< What it has to run in.
  std::string local_name;                  ///< In the file; empty where it has none.
  std::vector<std::string> outputs;        ///< The tensors that it writes, by their names in the file.
};

/// A plan for a runtime that picks types by itself and takes constraints, as TensorRT does up to 10.x.
struct WeaklyTyped {
  Model model;  ///< The plan's exponents, clamps and constants, with the types of the original.
  /// What may not run in FP16, in graph order: what the plan keeps in FP32 or BF16, and of the inserted
  /// multiplications and clamps those that such a node reads or whose constants FP16 can't hold.
  std::vector<PinnedNode> pinned;
  /// Inputs that nodes pinned to FP32 read and none that may write FP16, and outputs that such nodes write.
  /// To be told to a runtime beside the pins: TensorRT 8.6 stores what enters and leaves a region of pinned
  /// layers as FP16 where that is faster, and converts it next to the input or output.
  std::vector<std::string> wide_io;
};

/// Applies what a plan says of values, and lists what it says of types. In FP32 the result computes the
/// original's bits. Throws what Apply throws.
WeaklyTyped ApplyWeakly(const Model& model, const Plan& plan);

/// A typed model whose FP16 and BF16 matrix products are written as products of FP32 between Casts, which a
/// strongly typed runtime runs as 16-bit products with FP32 sums. Values stay what 16-bit storage makes them.
Model AccumulateInFp32(const Model& model);

/// The name of the original's tensor behind a name that Apply made for a second type of it ("x.fp16" is of
/// "x"), or for the path to a tensor in a body of a node that goes by such a name ("x.fp32/body/y" is of
/// "x/body/y"). For names that the original has itself, ask it first: they may hold dots.
std::string OriginalName(const std::string& name);

/// How many Cast nodes a model has, bodies included.
uint64_t CountCasts(const Model& model);

/// The model with every tensor whose name matches the regular expression `pattern` as an output too; inputs,
/// constants and tensors inside bodies are left out. Throws Error(kUsage) when nothing matches.
Model MarkOutputs(const Model& model, const std::string& pattern);

}  // namespace halfsafe
