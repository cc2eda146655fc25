#pragma once

#include <string>
#include <vector>

#include "cli/commands.h"
#include "halfsafe/model.h"
#include "halfsafe/sample.h"

namespace halfsafe {

/// Throws unless everything that a command is to write can be written, each under a path of its own, and none
/// over what it reads: worth knowing before the samples are run. `others` are its outputs beside -o, --json
/// and
/// --report, `inputs` what it reads beside model, samples and latencies.
void RequireOutputs(CommonOptions* options, const std::vector<OutputPath>& others = {},
                    const std::vector<std::string>& inputs = {});

/// Throws where an output would replace external data of a model that is read, or a sample.
void RequireApart(const CommonOptions& options, const Model& model);
void RequireApart(const CommonOptions& options, const SampleSource& samples);

}  // namespace halfsafe
