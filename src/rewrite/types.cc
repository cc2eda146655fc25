#include <fmt/format.h>

#include "base/text.h"
#include "halfsafe/error.h"
#include "rewrite/rewriter.h"

namespace halfsafe {

DType TypeOf(Precision precision) {
  return precision == Precision::kFp16   ? DType::kFloat16
         : precision == Precision::kBf16 ? DType::kBfloat16
                                         : DType::kFloat;
}

Error NotInModel(const char* what, const std::string& name, const GraphIndex& index) {
  std::vector<std::string> names;
  for (const NodeInfo& node : index.nodes()) names.push_back(node.name);
  if (std::string_view(what) != "node") {
    names.clear();
    for (const TensorInfo& tensor : index.tensors()) names.push_back(tensor.name);
  }
  return BadInput(fmt::format("the plan names {} {}, which the model doesn't have{}", what, name,
                              DidYouMean(name, names)));
}

void ChooseTypes(Rewriter* rewriter) {
  for (const NodePlan& plan : rewriter->plan.nodes) {
    const int node = rewriter->index.FindNode(plan.name);
    if (node < 0) throw NotInModel("node", plan.name, rewriter->index);
    if (plan.precision == Precision::kFp32) continue;
    if (!rewriter->ports.Switchable(node)) {
      const std::string& why = rewriter->ports.WhyNot(node);
      throw BadInput(fmt::format("the plan asks for {} at {}, which can't be: {}",
                                 PrecisionName(plan.precision), plan.name,
                                 why.empty() ? "it has no FP32 tensors" : why));
    }
    if (plan.precision == Precision::kBf16 && !rewriter->ports.AllowsBf16(node)) {
      const NodeInfo& info = rewriter->index.node(node);
      throw BadInput(fmt::format("the plan asks for bf16 at {}, but {}-{} of the model's opset has no BF16",
                                 plan.name, info.proto->op_type(), info.schema->SinceVersion()));
    }
    rewriter->precision[static_cast<size_t>(node)] = TypeOf(plan.precision);
  }
  for (size_t id = 0; id < rewriter->index.tensors().size(); ++id) {
    const TensorInfo& tensor = rewriter->index.tensors()[id];
    const TensorPorts& ports = rewriter->ports.of(static_cast<int>(id));
    if (ports.writer == kNoFloat || tensor.kind == TensorKind::kConstant) continue;
    rewriter->stored[id] = rewriter->Wanted(ports.writer);
  }
  for (const IoPlan& io : rewriter->plan.io) {
    const int tensor = rewriter->index.FindTensor(io.name);
    if (tensor < 0) throw NotInModel("input or output", io.name, rewriter->index);
    if (rewriter->index.tensor(tensor).kind == TensorKind::kInput)
      rewriter->stored[static_cast<size_t>(tensor)] = TypeOf(io.precision);
  }
}

}  // namespace halfsafe
