#include "halfsafe/error.h"
#include "tensorrt/backend.h"

namespace halfsafe {

std::unique_ptr<Backend> OpenBackend(const std::vector<std::filesystem::path>&, Progress*) {
  throw Error(
      ExitCode::kUnavailable,
      "this halfsafe was built without TensorRT: install TensorRT (8.6 to 11) and CUDA's runtime, and "
      "configure with cmake --preset tensorrt (docs/tensorrt.md)");
}

}  // namespace halfsafe
