#pragma once

#include <onnx/onnx_pb.h>

#include <functional>
#include <string>
#include <vector>

#include "halfsafe/sample.h"

namespace halfsafe {

/// A constant that the model's file holds sparse and memory holds dense.
struct SparseConstant {
  std::string name;               ///< Of its tensor, inside its graph.
  onnx::SparseTensorProto proto;  ///< As the file has it, its data inside.
  std::string dense_sha256;       ///< Of the dense form's bytes.
};

/// Makes every sparse initializer a dense one and every sparse Constant node a dense one, bodies included, so
/// that their values are seen, scaled and converted like all others. `read` decodes one of their tensors;
/// `path` is the model's, for messages. Throws BadInput where an index lies outside, values and indices don't
/// fit together, or the dense form would be past 2 GiB.
std::vector<SparseConstant> MakeDense(const std::string& path,
                                      const std::function<Array(const onnx::TensorProto&)>& read,
                                      onnx::ModelProto* proto);

/// Makes those constants sparse again whose values and types are still what MakeDense made.
void MakeSparse(const std::vector<SparseConstant>& constants, onnx::ModelProto* proto);

}  // namespace halfsafe
