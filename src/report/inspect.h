#pragma once

#include <map>
#include <string>
#include <vector>

#include "halfsafe/model.h"
#include "halfsafe/ranges.h"

namespace halfsafe {

/// A Conv or Gemm whose weights, folded with what follows it, leave FP16's range.
struct FoldFinding {
  std::string nodes;  ///< Joined by " + ".
  double abs_max = 0.0;
};

/// What can be said of a model without running it.
struct Inspection {
  std::string path, sha256;
  uint64_t bytes = 0;
  std::map<std::string, int> opsets;  ///< Version per domain ("" is the standard one).
  std::vector<InputSpec> inputs, outputs;
  std::map<std::string, size_t> operators;  ///< Nodes per operator, bodies included.
  std::vector<std::string> no_schema;       ///< Operators that ONNX doesn't define.
  uint64_t weights = 0;                     ///< Float elements in constants.
  uint64_t subnormal = 0, vanishing = 0;
  std::vector<TensorStats> overflowing_weights;  ///< Past 65504.
  std::vector<FoldFinding> overflowing_folds;
  uint64_t folded = 0,
           folded_subnormal = 0;       ///< Elements of folded weights, and those that go subnormal or vanish.
  std::vector<std::string> leftovers;  ///< What an export to 16 bits left behind, in sentences.
};

Inspection Inspect(const Model& model);
/// For a terminal of `width` columns.
std::string ToText(const Inspection& inspection, int width, bool color);
/// The inspection as a halfsafe-inspection file.
std::string ToJson(const Inspection& inspection);

}  // namespace halfsafe
