#include "halfsafe/error.h"
#include "observe/device_stats.h"

namespace halfsafe {

std::unique_ptr<DeviceStats> OpenDeviceStats(size_t) {
  throw Error(
      ExitCode::kUnavailable,
      "this halfsafe was built without CUDA: run scripts/setup --cuda and configure with cmake --preset "
      "cuda (docs/cuda.md)");
}

}  // namespace halfsafe
