#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "halfsafe/sample.h"

namespace halfsafe {

/// The input that a .npy named `stem` is for. File names can't hold '/', and some systems no ':', so one of
/// `inputs` also goes by its name with these replaced by "_" or "__", when only one does. Otherwise it is
/// `stem` itself.
std::string InputForStem(std::string_view stem, const std::vector<InputSpec>& inputs);

/// Opens a folder of .npy as one sample, each array named after its file. `label` is the sample's name.
std::unique_ptr<SampleSource> OpenNpyFolder(const std::filesystem::path& folder, const std::string& label,
                                            const std::vector<InputSpec>& inputs);

}  // namespace halfsafe
