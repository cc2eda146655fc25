#pragma once

#include <onnx/onnx_pb.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include "model/weight_conversion.h"

namespace halfsafe {

/// Where an external tensor's bytes lie, and what is still to be done to them.
struct ExternalReference {
  std::string location;  ///< Relative to the model's folder.
  uint64_t offset = 0;
  std::optional<uint64_t> length = std::nullopt;
  /// Only in models that were lifted or rewritten and not saved: the file holds the values that the original
  /// has, and they are converted each time they are read. So such a model costs no memory for its weights.
  std::optional<WeightConversion> conversion = std::nullopt;
};

bool IsExternal(const onnx::TensorProto& tensor);

/// Throws Error(kBadInput) that names the tensor where an entry is no number.
ExternalReference ReadReference(const onnx::TensorProto& tensor);

/// Puts raw bytes into `tensor`, in place of a reference.
void PutInside(std::span<const std::byte> raw, onnx::TensorProto* tensor);

/// Makes `tensor` refer to `reference` in place of all data that it has.
void WriteReference(const ExternalReference& reference, onnx::TensorProto* tensor);

}  // namespace halfsafe
