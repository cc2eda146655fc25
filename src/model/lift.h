#pragma once

#include <onnx/onnx_pb.h>

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "halfsafe/model.h"

namespace halfsafe {

class GraphIndex;

/// The FP32 model behind one with 16-bit tensors, and the types that only ONNX Runtime knows of it.
struct LiftedModel {
  onnx::ModelProto proto;
  std::map<std::string, DType> known_types;
};

/// What Model::Lifted makes its model of; nothing where `model` holds no 16-bit type.
std::optional<LiftedModel> Lift(const Model& model);

/// A node that exporters of FP16 models put in to keep values finite, as those of T5 and BART: a Clip, Min or
/// Max whose bounds are FP16's largest number, or 1000 below it.
struct HalfClamp {
  int node = -1;
  int operand = 0;  ///< The input that it clamps.
};

/// The clamps of a graph in its order, bodies included.
std::vector<HalfClamp> FindHalfClamps(const Model& model, const GraphIndex& index);

/// Per input of `model.Inputs()` or output of its graph, in their order: the 16-bit type that the file behind
/// a lifted model has there, FLOAT where it has another, and everywhere for models that weren't lifted.
std::vector<DType> StoredInputTypes(const Model& model);
std::vector<DType> StoredOutputTypes(const Model& model);

}  // namespace halfsafe
