#include "rewrite/loadable.h"

#include <fmt/format.h>
#include <onnx/defs/attr_proto_util.h>

#include <algorithm>
#include <functional>
#include <map>
#include <numeric>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "rewrite/rewriter.h"

namespace halfsafe {
namespace {

/// From this opset on Unsqueeze takes its axes as an input.
constexpr int kAxesAreInputs = 13;

/// The node that writes a tensor, where it is one of ONNX's operator `op`; nullptr otherwise.
const NodeInfo* WriterOf(const GraphIndex& index, int tensor, std::string_view op) {
  if (tensor < 0 || index.tensor(tensor).producer < 0) return nullptr;
  const NodeInfo& node = index.node(index.tensor(tensor).producer);
  return IsStandard(node.proto->domain()) && node.proto->op_type() == op ? &node : nullptr;
}

/// The tensor that `tensor` has its values from through operators that ONNX Runtime drops when it loads a
/// model.
int BehindDropped(const GraphIndex& index, int tensor) {
  for (const NodeInfo* node = nullptr;; tensor = node->inputs[0]) {
    for (const char* op : {"Identity", "Dropout", "Cast"}) {
      node = WriterOf(index, tensor, op);
      if (node != nullptr) break;
    }
    if (node == nullptr) return tensor;
  }
}

/// Whether a Transpose moves the first axis behind others: to the last but one place, or to the last.
bool MovesBatch(const NodeInfo& transpose) {
  const auto* attribute = FindAttribute(*transpose.proto, "perm");
  if (attribute == nullptr || attribute->ints_size() < 3) return false;
  std::vector<int64_t> perm(attribute->ints().begin(), attribute->ints().end()), moved(perm.size());
  std::iota(moved.begin(), moved.end(), 1);
  moved.back() = 0;
  if (perm == moved) return true;
  std::swap(moved[moved.size() - 2], moved.back());
  return perm == moved;
}

/// Whether ONNX Runtime 1.32 ends with a segmentation fault when it loads a model with this product, in its
/// own fusion of a Transpose in FP16 with a MatMul (MatmulTransposeFusion): the Transpose moves the batch,
/// and the other operand is a constant of a lower rank. Returns the axes that the constant lacks; 0 where all
/// is well. `dtype_of` says in which type a tensor is stored.
int AxesThatCrash(const GraphIndex& index, const NodeInfo& product,
                  const std::function<DType(int)>& dtype_of) {
  if (product.proto->op_type() != "MatMul" || !IsStandard(product.proto->domain())) return 0;
  const onnx::TensorProto* weight = index.tensor(BehindDropped(index, product.inputs[1])).data;
  if (weight == nullptr || weight->dims_size() < 2) return 0;
  const int left = BehindDropped(index, product.inputs[0]);
  const NodeInfo* transpose = WriterOf(index, left, "Transpose");
  if (transpose == nullptr || !MovesBatch(*transpose) || dtype_of(left) != DType::kFloat16) return 0;
  return std::max(0, FindAttribute(*transpose->proto, "perm")->ints_size() - weight->dims_size());
}

/// Writes Unsqueeze nodes.
class Unsqueezes {
 public:
  explicit Unsqueezes(Rewriter* rewriter) : rewriter_(*rewriter) {}

  /// The name under which `tensor`, found as `name`, has `count` axes of 1 in front of its own.
  const std::string& Of(const TensorInfo& tensor, const std::string& name, int count) {
    std::string& output = outputs_[{tensor.graph, name, count}];
    if (!output.empty()) return output;
    output = NewName(name + ".batch");
    onnx::NodeProto& node =
        rewriter_.InsertBehind(tensor, "Unsqueeze", fmt::format("Unsqueeze_{}", output), output);
    node.add_input(name);
    if (OpsetVersion(rewriter_.proto, "") >= kAxesAreInputs) {
      node.add_input(FirstAxes(count));
    } else {
      *node.add_attribute() = onnx::MakeAttribute("axes", FirstNumbers(count));
    }
    NodeFindings findings;
    findings.inserted =
        "the rank of the other operand: ONNX Runtime crashes where it fuses this MatMul with a Transpose";
    SetFindings(findings, &node);
    return output;
  }

 private:
  std::string NewName(std::string name) {
    while (!rewriter_.taken.insert(name).second) name += "_";
    return name;
  }

  static std::vector<int64_t> FirstNumbers(int count) {
    std::vector<int64_t> numbers(static_cast<size_t>(count));
    std::iota(numbers.begin(), numbers.end(), 0);
    return numbers;
  }

  /// The name of a constant [0, 1, ..., count-1] of the main graph, which bodies see too.
  const std::string& FirstAxes(int count) {
    std::string& name = axes_[count];
    if (!name.empty()) return name;
    name = NewName(fmt::format("halfsafe_axes_{}", count));
    onnx::TensorProto* tensor = rewriter_.proto.mutable_graph()->add_initializer();
    tensor->set_name(name);
    tensor->set_data_type(onnx::TensorProto::INT64);
    tensor->add_dims(count);
    for (const int64_t axis : FirstNumbers(count)) tensor->add_int64_data(axis);
    if (rewriter_.proto.ir_version() < 4) AddInitializerInput(*tensor, rewriter_.proto.mutable_graph());
    return name;
  }

  Rewriter& rewriter_;
  std::map<std::tuple<int, std::string, int>, std::string> outputs_;  ///< By graph, name and axes.
  std::map<int, std::string> axes_;
};

}  // namespace

bool CrashesRuntime(const Model& model) {
  const GraphIndex& index = model.index();
  const auto dtype_of = [&](int tensor) { return index.tensor(tensor).dtype; };
  return std::ranges::any_of(index.nodes(),
                             [&](const NodeInfo& node) { return AxesThatCrash(index, node, dtype_of) > 0; });
}

void KeepLoadable(Rewriter* rewriter) {
  const auto stored = [&](int tensor) { return rewriter->stored[static_cast<size_t>(tensor)]; };
  Unsqueezes unsqueezes(rewriter);
  for (size_t id = 0; id < rewriter->nodes.size(); ++id) {
    const NodeInfo& product = rewriter->index.nodes()[id];
    const int axes = AxesThatCrash(rewriter->index, product, stored);
    if (axes == 0) continue;
    onnx::NodeProto* node = rewriter->nodes[id];
    node->set_input(1, unsqueezes.Of(rewriter->index.tensor(product.inputs[1]), node->input(1), axes));
  }
}

}  // namespace halfsafe
