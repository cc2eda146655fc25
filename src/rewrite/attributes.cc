#include <algorithm>
#include <cmath>

#include "halfsafe/half.h"
#include "model/walk.h"
#include "rewrite/rewriter.h"

namespace halfsafe {
namespace {

/// Writes the value that the node fills with in another type, or clamped to +-`clamp`, or both.
void ChangeConstantOfShape(onnx::NodeProto* node, DType dtype, double clamp, const Model& model) {
  float value = 0.0f;  // The schema's default.
  onnx::AttributeProto* attribute = const_cast<onnx::AttributeProto*>(FindAttribute(*node, "value"));
  if (attribute != nullptr) {
    const std::vector<float> values = ReadFloats(model, attribute->t());
    if (!values.empty()) value = values[0];
  } else {
    attribute = node->add_attribute();
    attribute->set_name("value");
    attribute->set_type(onnx::AttributeProto::TENSOR);
  }
  const float limit =
      static_cast<float>(dtype == DType::kFloat16 ? std::min<double>(clamp, kHalfMax) : clamp);
  if (std::isfinite(value)) value = std::clamp(value, -limit, limit);
  onnx::TensorProto* tensor = attribute->mutable_t();
  tensor->clear_raw_data();
  tensor->clear_float_data();
  tensor->clear_external_data();
  tensor->clear_data_location();
  tensor->clear_dims();
  tensor->add_dims(1);
  tensor->set_data_type(static_cast<int>(dtype));
  if (dtype == DType::kFloat) return tensor->add_float_data(value);
  // Both 16-bit types keep their bits in the int32 field.
  tensor->add_int32_data(dtype == DType::kFloat16 ? HalfBits(value) : Bfloat16Bits(RoundToBfloat16(value)));
}

}  // namespace

void RetypeAttributes(Rewriter* rewriter) {
  for (size_t id = 0; id < rewriter->nodes.size(); ++id) {
    const NodeInfo& node = rewriter->index.nodes()[id];
    const std::string& op = node.proto->op_type();
    if ((op != "Cast" && op != "ConstantOfShape") || node.outputs.empty() || node.outputs[0] < 0) continue;
    const size_t output = static_cast<size_t>(node.outputs[0]);
    const DType dtype = rewriter->stored[output];
    const auto clamp = rewriter->clamps.find(node.outputs[0]);
    const double limit = clamp == rewriter->clamps.end() ? INFINITY : clamp->second;
    if (dtype == rewriter->index.tensors()[output].dtype && std::isinf(limit)) continue;
    if (op == "ConstantOfShape") {
      ChangeConstantOfShape(rewriter->nodes[id], dtype, limit, rewriter->model);
    } else {
      const_cast<onnx::AttributeProto*>(FindAttribute(*rewriter->nodes[id], "to"))
          ->set_i(static_cast<int>(dtype));
    }
  }
}

}  // namespace halfsafe
