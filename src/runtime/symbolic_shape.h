#pragma once

#include <onnxruntime_cxx_api.h>

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace halfsafe {

/// A dimension as ONNX Runtime infers it: a number, or a name where it is free.
struct SymbolicDim {
  int64_t value = -1;
  std::string name;  ///< Not empty where `value` is -1: a dimension with neither would be taken for -1.

  bool operator==(const SymbolicDim&) const = default;
};

/// Nothing where the shape is unknown.
using SymbolicShape = std::optional<std::vector<SymbolicDim>>;

/// The shape that numpy's broadcasting gives. A free dimension that may or may not be 1 makes a free one.
SymbolicShape Broadcast(const SymbolicShape& one, const SymbolicShape& other);

/// Shape of input `index`; free dimensions without a name get one of their own.
SymbolicShape InputShape(OrtShapeInferContext* context, size_t index);

/// Declares output `index` to have `shape`, if known, and the element type of input 0.
void SetOutputShape(OrtShapeInferContext* context, size_t index, const SymbolicShape& shape);

/// Runs `body` and turns what it throws into a status, for callbacks of ONNX Runtime.
OrtStatusPtr Guarded(const std::function<void()>& body) noexcept;

}  // namespace halfsafe
