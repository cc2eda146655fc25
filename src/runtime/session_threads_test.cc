#include "runtime/session_threads.h"

#include <gtest/gtest.h>
#ifdef HALFSAFE_SANITIZE_address
#include <sanitizer/lsan_interface.h>
#endif

#include <atomic>
#include <chrono>
#include <new>
#include <thread>

#include "model/test_support.h"
#include "runtime/provider.h"

namespace halfsafe {
namespace {

constexpr char kDomain[] = "test.halfsafe";

thread_local bool calls = false;  ///< The thread is not the pool's but that which runs the session.
std::atomic<bool> died{false};

/// Ends a thread of the pool by an exception. The caller's thread, which takes part, waits for that. Nothing
/// is handed over by the pool, which the thread sanitizer doesn't see into.
struct DyingKernel {
  void Compute(OrtKernelContext* context) {
    calls = true;
    const auto work = [](void*, size_t) {
      if (!calls) {
        died = true;
        throw std::bad_alloc();
      }
      for (int i = 0; i < 500 && !died; ++i) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    };
    Ort::KernelContext(context).ParallelFor(work, 64, 64, nullptr);
  }
};

struct DyingOp : Ort::CustomOpBase<DyingOp, DyingKernel> {
  void* CreateKernel(const OrtApi&, const OrtKernelInfo*) const { return new DyingKernel; }
  const char* GetName() const { return "Dying"; }
  size_t GetInputTypeCount() const { return 1; }
  ONNXTensorElementDataType GetInputType(size_t) const { return ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT; }
  size_t GetOutputTypeCount() const { return 1; }
  ONNXTensorElementDataType GetOutputType(size_t) const { return ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT; }
};

/// A session of `model` with `threads`, run once with 512 x 512 ones; the first value of its output.
float RunOnce(const std::string& model, SessionThreads* threads, const DyingOp* op = nullptr) {
  Ort::SessionOptions options;
  threads->ServeSessionOf(&options);
  Ort::CustomOpDomain domain{kDomain};
  if (op != nullptr) {
    domain.Add(op);
    options.Add(domain);
  }
  Ort::Session session(Environment(), model.data(), model.size(), options);
  threads->Begin();
  struct Serving {
    SessionThreads* threads;
    ~Serving() { threads->ExpectEnd(); }
  } serving{threads};
  std::vector<float> ones(size_t{512} * 512, 1.0f);
  const std::vector<int64_t> shape = {512, 512};
  const Ort::MemoryInfo memory = Ort::MemoryInfo::CreateCpu(OrtArenaAllocator, OrtMemTypeDefault);
  const Ort::Value input =
      Ort::Value::CreateTensor<float>(memory, ones.data(), ones.size(), shape.data(), shape.size());
  const char *x = "x", *y = "y";
  const auto outputs = session.Run(Ort::RunOptions{}, &x, &input, 1, &y, 1);
  return *outputs.at(0).GetTensorData<float>();
}

std::string ModelText(const std::string& node) {
  return ParsedProto(
             "<ir_version: 8, opset_import: [\"\" : 17, \"test.halfsafe\" : 1]> "
             "g (float[512, 512] x) => (float[512, 512] y) { y = " +
             node + " }")
      .SerializeAsString();
}

TEST(SessionThreadsTest, RunsASession) {
  for (const int count : {1, 2, 5}) {
    SessionThreads threads(count);
    EXPECT_EQ(RunOnce(ModelText("MatMul(x, x)"), &threads), 512.0f) << count;
  }
}

TEST(SessionThreadsTest, EndsWhereTheSessionIsRefused) {
  SessionThreads threads(5);
  EXPECT_THROW(RunOnce(ModelText("NoSuchOperator(x)"), &threads), Ort::Exception);
}

TEST(SessionThreadsTest, EndsWhereItIsAskedForMore) {
  SessionThreads threads(3);
  Ort::SessionOptions options;
  threads.ServeSessionOf(&options);
  options.SetIntraOpNumThreads(6);
  const std::string model = ModelText("Neg(x)");
#ifdef HALFSAFE_SANITIZE_address
  const __lsan::ScopedDisabler lost;  // What the threads of a pool were given goes with it.
#endif
  EXPECT_THROW(Ort::Session(Environment(), model.data(), model.size(), options), Ort::Exception);
}

TEST(SessionThreadsTest, AThreadThatDiesEndsTheProcess) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  const auto die = [] {
    SessionThreads threads(3);
    const DyingOp op;
    RunOnce(ModelText("test.halfsafe.Dying(x)"), &threads, &op);
  };
  EXPECT_DEATH(die(), "a thread of ONNX Runtime ended");
}

}  // namespace
}  // namespace halfsafe
