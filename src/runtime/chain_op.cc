#include "runtime/chain_op.h"

#include <mutex>

#include "runtime/chain_plan.h"
#include "runtime/symbolic_shape.h"

namespace halfsafe {
namespace {

class ChainKernel {
 public:
  ChainKernel(TapHandler* handler, const Chain& chain) : handler_(handler), chain_(chain) {}

  OrtStatusPtr ComputeV2(OrtKernelContext* raw) {
    return Guarded([&] { Compute(Ort::KernelContext(raw)); });
  }

 private:
  void Compute(const Ort::KernelContext& context) {
    std::vector<Shape> shapes;
    std::vector<const float*> inputs;
    for (size_t i = 0; i < chain_.inputs.size(); ++i) {
      const Ort::ConstValue input = context.GetInput(i);
      shapes.push_back(input.GetTensorTypeAndShapeInfo().GetShape());
      inputs.push_back(input.GetTensorData<float>());
    }
    const std::shared_ptr<const ChainPlan> plan = PlanFor(std::move(shapes));
    std::vector<float*> outputs;
    for (size_t i = 0; i < chain_.outputs.size(); ++i)
      outputs.push_back(context.GetOutput(i, plan->output_shape(i)).GetTensorMutableData<float>());
    plan->Run(inputs, outputs, handler_, ParallelOf(context));
  }

  /// The plan of the last run, where its shapes are the same.
  std::shared_ptr<const ChainPlan> PlanFor(std::vector<Shape> shapes) {
    const std::lock_guard lock(mutex_);
    if (plan_ == nullptr || plan_->input_shapes() != shapes)
      plan_ = std::make_shared<const ChainPlan>(chain_, std::move(shapes));
    return plan_;
  }

  TapHandler* handler_;
  const Chain& chain_;
  std::mutex mutex_;
  std::shared_ptr<const ChainPlan> plan_;
};

/// Follows the shapes through the steps.
void InferShapes(const Chain& chain, OrtShapeInferContext* context) {
  std::vector<SymbolicShape> inputs, steps;
  for (size_t i = 0; i < chain.inputs.size(); ++i) inputs.push_back(InputShape(context, i));
  const auto shape_of = [&](const ChainOperand& operand) -> SymbolicShape {
    if (operand.kind == ChainOperand::Kind::kConstant) return std::vector<SymbolicDim>();
    return (operand.kind == ChainOperand::Kind::kInput ? inputs : steps)[static_cast<size_t>(operand.index)];
  };
  for (const ChainStep& step : chain.steps) steps.push_back(Broadcast(shape_of(step.a), shape_of(step.b)));
  for (size_t i = 0; i < chain.outputs.size(); ++i)
    SetOutputShape(context, i, steps[static_cast<size_t>(chain.outputs[i])]);
}

/// One operator for all chains of a model, with any number of inputs and outputs.
struct ChainOpType : Ort::CustomOpBase<ChainOpType, ChainKernel, true> {
  ChainOpType(TapHandler* tap_handler, std::vector<Chain> all)
      : handler(tap_handler), chains(std::move(all)) {
    MayRunInPlace(this);
    OrtCustomOp::InferOutputShapeFn = [](const OrtCustomOp* op, OrtShapeInferContext* context) {
      return Guarded([&] {
        const OrtApi& api = Ort::GetApi();
        const OrtOpAttr* attribute = nullptr;
        int64_t index = 0;
        size_t size = 0;
        Ort::ThrowOnError(api.ShapeInferContext_GetAttribute(context, "chain", &attribute));
        Ort::ThrowOnError(api.ReadOpAttr(attribute, ORT_OP_ATTR_INT, &index, sizeof(index), &size));
        InferShapes(static_cast<const ChainOpType*>(op)->chains.at(static_cast<size_t>(index)), context);
      });
    };
  }
  OrtStatusPtr CreateKernelV2(const OrtApi&, const OrtKernelInfo* info, void** kernel) const {
    return Guarded([&] {
      const auto index = Ort::ConstKernelInfo(info).GetAttribute<int64_t>("chain");
      *kernel = new ChainKernel(handler, chains.at(static_cast<size_t>(index)));
    });
  }
  const char* GetName() const { return kChainOp; }
  size_t GetInputTypeCount() const { return 1; }
  size_t GetOutputTypeCount() const { return 1; }
  ONNXTensorElementDataType GetInputType(size_t) const { return ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT; }
  ONNXTensorElementDataType GetOutputType(size_t) const { return ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT; }
  OrtCustomOpInputOutputCharacteristic GetInputCharacteristic(size_t) const { return INPUT_OUTPUT_VARIADIC; }
  OrtCustomOpInputOutputCharacteristic GetOutputCharacteristic(size_t) const { return INPUT_OUTPUT_VARIADIC; }

  TapHandler* handler;
  std::vector<Chain> chains;
};

}  // namespace

std::shared_ptr<OrtCustomOp> MakeChainOp(TapHandler* handler, std::vector<Chain> chains) {
  return std::make_shared<ChainOpType>(handler, std::move(chains));
}

}  // namespace halfsafe
