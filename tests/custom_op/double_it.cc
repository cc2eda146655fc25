// A library of custom operators for ONNX Runtime, as users have them: test.ops.DoubleIt, which doubles
// floats.
#define ORT_API_MANUAL_INIT
#include <onnxruntime_cxx_api.h>

namespace {

struct DoubleItKernel {
  void Compute(OrtKernelContext* raw) const {
    Ort::KernelContext context(raw);
    const Ort::ConstValue input = context.GetInput(0);
    const auto info = input.GetTensorTypeAndShapeInfo();
    const float* from = input.GetTensorData<float>();
    float* to = context.GetOutput(0, info.GetShape()).GetTensorMutableData<float>();
    for (size_t i = 0; i < info.GetElementCount(); ++i) to[i] = 2.0f * from[i];
  }
};

struct DoubleIt : Ort::CustomOpBase<DoubleIt, DoubleItKernel> {
  void* CreateKernel(const OrtApi&, const OrtKernelInfo*) const { return new DoubleItKernel; }
  const char* GetName() const { return "DoubleIt"; }
  size_t GetInputTypeCount() const { return 1; }
  size_t GetOutputTypeCount() const { return 1; }
  ONNXTensorElementDataType GetInputType(size_t) const { return ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT; }
  ONNXTensorElementDataType GetOutputType(size_t) const { return ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT; }
};

/// What every session of the process registers.
struct Library {
  Library() : domain("test.ops") { domain.Add(&double_it); }
  DoubleIt double_it;
  Ort::CustomOpDomain domain;
};

}  // namespace

/// The entry point that ONNX Runtime looks for.
extern "C" __attribute__((visibility("default"))) OrtStatus* ORT_API_CALL
RegisterCustomOps(OrtSessionOptions* options, const OrtApiBase* base) {
  Ort::InitApi(base->GetApi(ORT_API_VERSION));
  static const Library* library = new Library;  // Sessions outlive any static object here.
  return Ort::GetApi().AddCustomOpDomain(options, library->domain);
}
