#include <fmt/format.h>

#include <cmath>

#include "halfsafe/error.h"
#include "model/rescale_rules.h"
#include "model/walk.h"
#include "rewrite/rewriter.h"

namespace halfsafe {
namespace {

void ScaleEpsilon(onnx::NodeProto* node, int shift) {
  auto* epsilon = const_cast<onnx::AttributeProto*>(FindAttribute(*node, "epsilon"));
  if (epsilon == nullptr) {
    epsilon = node->add_attribute();
    epsilon->set_name("epsilon");
    epsilon->set_type(onnx::AttributeProto::FLOAT);
    epsilon->set_f(1e-5f);  // The schema's default.
  }
  epsilon->set_f(std::ldexp(epsilon->f(), shift));
}

void RescaleTensor(Rewriter* rewriter, const RescalableTensor& layers, int exponent) {
  const NodeInfo& producer = rewriter->index.node(layers.producer);
  const NodeInfo& reader = rewriter->index.node(layers.reader);
  const auto shift = [&](int tensor, int by) { rewriter->shift[static_cast<size_t>(tensor)] += by; };
  shift(producer.inputs[1], -exponent);
  if (producer.inputs.size() > 2 && producer.inputs[2] >= 0) shift(producer.inputs[2], -exponent);
  shift(reader.inputs[3], -exponent);
  shift(reader.inputs[1], exponent);
}

void RescaleVariance(Rewriter* rewriter, int constant, int reader, int exponent) {
  rewriter->shift[static_cast<size_t>(constant)] -= exponent;
  rewriter->shift[static_cast<size_t>(rewriter->index.node(reader).inputs[1])] -= exponent / 2;
  ScaleEpsilon(rewriter->nodes[static_cast<size_t>(reader)], -exponent);
}

}  // namespace

void Rescale(Rewriter* rewriter) {
  for (const TensorPlan& plan : rewriter->plan.tensors) {
    if (plan.exponent == 0) continue;
    const int tensor = rewriter->index.FindTensor(plan.name);
    if (tensor < 0)
      throw BadInput(fmt::format("the plan names tensor {}, which the model doesn't have", plan.name));
    if (const auto layers = FindRescalable(rewriter->index, tensor)) {
      RescaleTensor(rewriter, *layers, plan.exponent);
    } else if (const int reader = FindVarianceReader(rewriter->index, tensor);
               reader >= 0 && plan.exponent % 2 == 0) {
      RescaleVariance(rewriter, tensor, reader, plan.exponent);
    } else {
      throw BadInput(
          fmt::format("the plan stores {} times 2^{}; that needs a linear layer before the tensor and only a "
                      "BatchNormalization behind it, or its variance and an even exponent, with constants of "
                      "their own",
                      plan.name, -plan.exponent));
    }
  }
}

}  // namespace halfsafe
