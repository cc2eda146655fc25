#include <fmt/format.h>

#include <cmath>

#include "halfsafe/error.h"
#include "model/walk.h"
#include "rewrite/rewriter.h"

namespace halfsafe {
namespace {

void ReadExponent(Rewriter* rewriter, const TensorPlan& plan) {
  const int tensor = rewriter->index.FindTensor(plan.name);
  if (tensor < 0) throw NotInModel("tensor", plan.name, rewriter->index);
  if (plan.exponent == 0) return;
  if (!rewriter->scales.CanScale(tensor)) {
    throw BadInput(
        fmt::format("the plan stores {} times 2^{}, but only FP32 results of nodes that hand "
                    "exponents on can have one, and variances",
                    plan.name, -plan.exponent));
  }
  if (rewriter->index.tensor(tensor).kind == TensorKind::kConstant && plan.exponent % 2 != 0)
    throw BadInput(fmt::format("the plan gives variance {} the exponent {}, which is not even", plan.name,
                               plan.exponent));
  rewriter->exponents[static_cast<size_t>(tensor)] = plan.exponent;
}

void ScaleAttribute(const NodeInfo& node, const ScaledAttribute& scaled, int exponent,
                    onnx::NodeProto* copy) {
  const auto value = ScalableAttribute(node, scaled.name);
  if (!value || exponent == 0) return;
  auto* attribute = const_cast<onnx::AttributeProto*>(FindAttribute(*copy, scaled.name));
  if (attribute == nullptr) {
    attribute = copy->add_attribute();
    attribute->set_name(std::string(scaled.name));
    attribute->set_type(onnx::AttributeProto::FLOAT);
  }
  attribute->set_f(std::ldexp(*value, scaled.times * exponent));
}

}  // namespace

void Rescale(Rewriter* rewriter) {
  for (const TensorPlan& plan : rewriter->plan.tensors) ReadExponent(rewriter, plan);
  for (size_t id = 0; id < rewriter->nodes.size(); ++id) {
    const NodeInfo& node = rewriter->index.nodes()[id];
    const int number = static_cast<int>(id);
    rewriter->read_exponent[id] = rewriter->scales.OperandExponents(number, rewriter->exponents);
    for (const ScaledAttribute& attribute : rewriter->scales.of(number).attributes) {
      if (attribute.input < node.inputs.size())
        ScaleAttribute(node, attribute, rewriter->read_exponent[id][attribute.input], rewriter->nodes[id]);
    }
  }
}

}  // namespace halfsafe
