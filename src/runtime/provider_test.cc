#include "runtime/provider.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "halfsafe/error.h"

namespace halfsafe {
namespace {

TEST(ProviderTest, TheCpuIsAlwaysThere) { EXPECT_NO_THROW(RequireProvider(Provider::kCpu)); }

TEST(ProviderTest, CudaIsThereOrWhatIsMissingIsSaid) {
  for (int turn = 0; turn < 2; ++turn) {
    try {
      RequireProvider(Provider::kCuda);
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ExitCode::kUnavailable);
      EXPECT_THAT(error.what(), testing::HasSubstr("docs/cuda.md"));
      EXPECT_THAT(error.what(),
                  testing::AnyOf(testing::HasSubstr("onnxruntime-gpu"), testing::HasSubstr("cuDNN 9")));
    }
  }
}

}  // namespace
}  // namespace halfsafe
