#pragma once

#include <onnx/defs/schema.h>

#include <string>

namespace halfsafe {

/// What ONNX Runtime says of an operator that ONNX doesn't define, or only in a later opset than `opset`:
/// types of operands and results, and an inference function for these, without shapes and attributes. nullptr
/// where ONNX Runtime doesn't list it either. Lasts as long as the process.
const onnx::OpSchema* RuntimeSchema(const std::string& op, int opset, const std::string& domain);

/// What ONNX says of an operator in an opset: for one that ONNX Runtime had before ONNX (LayerNormalization,
/// which its optimizer writes at any opset) ONNX's first definition of it. nullptr where there is none.
const onnx::OpSchema* OnnxSchema(const std::string& op, int opset, const std::string& domain);

}  // namespace halfsafe
