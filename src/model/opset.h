#pragma once

#include <onnx/onnx_pb.h>

#include <vector>

#include "halfsafe/model.h"
#include "model/node_converter.h"

namespace halfsafe {

/// How a model becomes one of a newer opset (see Model::RaiseOpset).
class OpsetConversion {
 public:
  /// Throws as Model::RaiseOpset does.
  OpsetConversion(const Model& model, int opset);

  /// `proto` is the model's, or a copy with the same nodes.
  void ApplyTo(onnx::ModelProto* proto) const;

 private:
  void ConvertNodes(const Model& model);
  void RequireValid(const Model& model) const;

  int from_, to_;
  /// Per graph, in the order of AllGraphs, and node. No nodes where the node stays as it is.
  std::vector<std::vector<ConvertedNode>> nodes_;
};

}  // namespace halfsafe
