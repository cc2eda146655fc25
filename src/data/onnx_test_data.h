#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "halfsafe/sample.h"

namespace halfsafe {

/// The K of a file name "input_K.pb".
std::optional<uint64_t> TestDataIndex(std::string_view file_name);

/// Opens a folder of input_K.pb (a serialized TensorProto each) as one sample. Names come from the K-th of
/// `inputs`; where no model is known (`inputs` is empty) from the tensors themselves. `label` is the sample's
/// name.
std::unique_ptr<SampleSource> OpenTestData(const std::filesystem::path& folder, const std::string& label,
                                           const std::vector<InputSpec>& inputs);

}  // namespace halfsafe
