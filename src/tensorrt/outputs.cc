#include "tensorrt/outputs.h"

#include <fmt/format.h>

#include <algorithm>

#include "data/convert.h"
#include "halfsafe/error.h"
#include "model/runnable.h"
#include "verify/compare.h"

namespace halfsafe {
namespace {

/// INT64 comes as INT32 from a TensorRT that has none.
Array AsExpected(const Array& array, const OutputView& expected) {
  const bool wide = expected.tensors.size() == 1 && expected.tensors.front().dtype == DType::kInt64;
  return wide && array.dtype == DType::kInt32 ? ConvertArray(array, DType::kInt64, "output") : array;
}

}  // namespace

void CompareArrays(std::span<const std::string> names, std::span<const OutputView> expected,
                   std::span<const OutputRule> rules, std::span<const NamedArray> found,
                   const std::string& sample, const Tolerance& tolerance, ModelErrors* errors) {
  for (size_t i = 0; i < names.size(); ++i) {
    const auto array = std::find_if(found.begin(), found.end(),
                                    [&](const NamedArray& output) { return output.name == names[i]; });
    if (array == found.end()) {
      if (names[i].starts_with(kTailPrefix)) continue;
      throw BadInput(fmt::format("the engine has no output {}: it is not an engine of this model", names[i]));
    }
    auto error = std::find_if(errors->outputs.begin(), errors->outputs.end(),
                              [&](const OutputError& output) { return output.name == names[i]; });
    if (error == errors->outputs.end()) {
      errors->outputs.push_back({});
      error = std::prev(errors->outputs.end());
      error->name = names[i];
    }
    const OutputValue value{false, {AsExpected(array->array, expected[i])}};
    const OutputRule* rule = rules.empty() ? nullptr : &rules[i];
    AddSample({CompareOutput(expected[i], View(value), sample, tolerance, rule)}, sample, &*error);
    if (error->new_nonfinite > 0 &&
        std::find(errors->nonfinite_outputs.begin(), errors->nonfinite_outputs.end(), names[i]) ==
            errors->nonfinite_outputs.end())
      errors->nonfinite_outputs.push_back(names[i]);
    errors->right = errors->right && error->right;
  }
}

}  // namespace halfsafe
