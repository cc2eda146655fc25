#pragma once

#include <optional>

#include "halfsafe/model.h"

namespace halfsafe {

/// Which types of its tensors a session of a model has.
enum class Types {
  kItsOwn,
  kEmulated,  ///< FP32 in place of 16-bit ones.
};

/// What ONNX Runtime is given of a model: operators that it lacks, and that ONNX defines by others, are
/// written out as these; where it has only older versions of operators, the opset is an older one; and what
/// it lacks at the tail is left off (RunnablePart, which also says what is thrown). Tensors keep their names;
/// those of definitions come in addition. Nothing where the whole model runs as it is.
std::optional<Model> RunnableForm(const Model& model, bool custom_ops_loaded, Types types);

}  // namespace halfsafe
