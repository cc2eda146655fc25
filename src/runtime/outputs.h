#pragma once

#include <onnxruntime_cxx_api.h>

#include <memory>
#include <string>
#include <vector>

#include "halfsafe/model.h"
#include "halfsafe/ranges.h"

namespace halfsafe {

/// ONNX Runtime numbers the newest types in an order of its own.
ONNXTensorElementDataType RuntimeType(DType dtype);
DType FromRuntimeType(ONNXTensorElementDataType type);

/// A dense tensor that lies elsewhere.
struct TensorView {
  DType dtype = DType::kUndefined;
  std::vector<int64_t> shape;
  const void* data = nullptr;
  size_t count = 0;                   ///< Elements.
  size_t size = 0;                    ///< Bytes.
  std::shared_ptr<const void> owner;  ///< Of strings, which are copied; otherwise what was viewed is.
};

/// An output of a run: a view that lives as long as the value it was made from.
struct OutputView {
  bool sequence = false;
  std::vector<TensorView> tensors;   ///< The sequence's, or one.
  std::vector<Ort::Value> elements;  ///< What the views of a sequence show: ONNX Runtime hands out copies.
};

/// Throws Error(kBadInput) when the model declares an output that View refuses.
void RequireComparableOutputs(const Model& model);

/// Views a tensor or a sequence of tensors. Throws Error(kBadInput) for optionals and maps.
OutputView View(const Ort::Value& value, const std::string& name);
OutputView View(const OutputValue& value);

/// The bytes behind a view.
OutputValue CopyOutput(const OutputView& view);

/// The bytes behind a view under the output's name; tensors of a sequence are NAME[0], NAME[1], ...
std::vector<NamedArray> CopyArrays(const std::string& name, const OutputView& view);

}  // namespace halfsafe
