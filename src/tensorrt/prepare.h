#pragma once

#include <optional>
#include <vector>

#include "halfsafe/engine.h"
#include "halfsafe/rewrite.h"
#include "tensorrt/backend.h"

namespace halfsafe {

/// A folder for files on their way to TensorRT, which only its owner can read. Gone with the object.
class PrivateFolder {
 public:
  PrivateFolder();
  ~PrivateFolder();
  PrivateFolder(const PrivateFolder&) = delete;
  PrivateFolder& operator=(const PrivateFolder&) = delete;
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

/// A model as TensorRT is to parse it, and what it has to be told beside.
struct Prepared {
  std::optional<Model> rewritten;  ///< Nothing where the original is to be parsed as it is.
  std::vector<PinnedNode> pinned;  ///< Weak typing.
  std::vector<std::string> warnings;
  EngineRequest request;  ///< Without a file name and `constrain`.
};

/// Decides the typing and applies the plan to match. Throws what BuildEngine says of plans, typings and
/// profiles.
Prepared PrepareModel(const Model& model, const Plan* plan, const SampleSource* samples,
                      const BuildOptions& options, const Backend& backend);

/// Builds what was prepared, with constraints on layers where the typing is weak.
BuildResult BuildPrepared(const Model& model, const Prepared& prepared, const BuildOptions& options,
                          Backend* backend, Progress* progress);

}  // namespace halfsafe
