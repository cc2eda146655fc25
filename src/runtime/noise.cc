#include "runtime/noise.h"

#include <fmt/format.h>
#include <onnx/defs/attr_proto_util.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <initializer_list>
#include <numbers>
#include <string_view>
#include <vector>

#include "model/walk.h"
#include "runtime/symbolic_shape.h"
#include "runtime/tap.h"

namespace halfsafe {
namespace {

constexpr char kNoiseOp[] = "Noise";
constexpr int64_t kFloat = onnx::TensorProto::FLOAT;
/// From this opset on Dropout has an input that says whether it trains.
constexpr int kDropoutTrains = 12;

/// splitmix64's finalizer: a permutation of 64 bits in which each bit of the input moves half of the output.
constexpr uint64_t Scrambled(uint64_t x) {
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9U;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBU;
  return x ^ (x >> 31);
}

constexpr uint64_t Mixed(uint64_t key, uint64_t part) {
  return Scrambled(key + 0x9E3779B97F4A7C15U * (part + 1));
}

/// In (0, 1), and a float below 1: the 24 bits that a float holds there, and a half.
double Uniform(uint64_t bits) { return (static_cast<double>(bits >> 40) + 0.5) * 0x1p-24; }

/// Box and Muller's transform of two numbers of 32 bits.
double Normal(uint64_t bits) {
  const double radius = (static_cast<double>(bits >> 32) + 0.5) * 0x1p-32;
  const double angle = static_cast<double>(bits & 0xFFFFFFFFU) * 0x1p-32;
  return std::sqrt(-2.0 * std::log(radius)) * std::cos(2.0 * std::numbers::pi * angle);
}

/// Gives numbers of the shape that its input states: value i depends on the sample, the node, how often the
/// node has run in this run of the model, and i.
class NoiseKernel {
 public:
  NoiseKernel(const NoiseRun* run, const Ort::ConstKernelInfo& info)
      : run_(*run),
        node_(static_cast<uint64_t>(info.GetAttribute<int64_t>("node"))),
        normal_(info.GetAttribute<int64_t>("normal") != 0),
        offset_(info.GetAttribute<float>("offset")),
        scale_(info.GetAttribute<float>("scale")) {}

  OrtStatusPtr ComputeV2(OrtKernelContext* raw) {
    return Guarded([&] { Compute(Ort::KernelContext(raw)); });
  }

 private:
  void Compute(const Ort::KernelContext& context) {
    const Ort::ConstValue input = context.GetInput(0);
    const auto* dims = input.GetTensorData<int64_t>();
    const std::vector<int64_t> shape(dims, dims + input.GetTensorTypeAndShapeInfo().GetElementCount());
    Ort::UnownedValue output = context.GetOutput(0, shape);
    const size_t count = output.GetTensorTypeAndShapeInfo().GetElementCount();
    float* values = output.GetTensorMutableData<float>();
    if (const uint64_t number = run_.number; number != last_run_) {
      last_run_ = number;
      invocation_ = 0;
    }
    const uint64_t key = Mixed(Mixed(run_.sample, node_), invocation_++);
    ParallelOf(context)((count + kTaskValues - 1) / kTaskValues, [&](size_t task) {
      const size_t end = std::min(count, (task + 1) * kTaskValues);
      for (size_t i = task * kTaskValues; i < end; ++i) {
        const uint64_t bits = Mixed(key, i);
        values[i] = static_cast<float>(offset_ + scale_ * (normal_ ? Normal(bits) : Uniform(bits)));
      }
    });
  }

  const NoiseRun& run_;
  const uint64_t node_;
  const bool normal_;
  const double offset_;
  const double scale_;
  uint64_t last_run_ = 0;
  uint64_t invocation_ = 0;
};

struct NoiseOpType : Ort::CustomOpBase<NoiseOpType, NoiseKernel, true> {
  explicit NoiseOpType(const NoiseRun* noise_run) : run(noise_run) {}
  OrtStatusPtr CreateKernelV2(const OrtApi&, const OrtKernelInfo* info, void** kernel) const {
    return Guarded([&] { *kernel = new NoiseKernel(run, Ort::ConstKernelInfo(info)); });
  }
  const char* GetName() const { return kNoiseOp; }
  size_t GetInputTypeCount() const { return 1; }
  size_t GetOutputTypeCount() const { return 1; }
  ONNXTensorElementDataType GetInputType(size_t) const { return ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64; }
  ONNXTensorElementDataType GetOutputType(size_t) const { return ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT; }

  const NoiseRun* run;
};

float FloatAttribute(const onnx::NodeProto& node, std::string_view name, float otherwise) {
  const auto* attribute = FindAttribute(node, name);
  return attribute == nullptr ? otherwise : attribute->f();
}

/// Whether a node draws random numbers.
bool DrawsNumbers(const onnx::NodeProto& node, int opset) {
  if (!IsStandard(node.domain())) return false;
  const std::string& op = node.op_type();
  if (op == "Dropout") return opset >= kDropoutTrains && node.input_size() > 2 && !node.input(2).empty();
  return op == "RandomNormal" || op == "RandomUniform" || op == "RandomNormalLike" ||
         op == "RandomUniformLike" || op == "Bernoulli" || op == "Multinomial";
}

/// Writes what stands for one node that draws random numbers.
class Replacement {
 public:
  /// `input_type` is that of the node's first input, and `opset` that of the standard domain.
  Replacement(const onnx::NodeProto& node, int64_t number, DType input_type, onnx::GraphProto* graph)
      : node_(node), number_(number), input_type_(static_cast<int64_t>(input_type)), graph_(*graph) {}

  void Write() {
    const std::string& op = node_.op_type();
    if (op == "Dropout") {
      WriteDropout();
    } else if (op == "Multinomial") {
      WriteMultinomial();
    } else if (op == "Bernoulli") {
      const std::string chosen =
          Add("Less", {Cast(Draw(ShapeOf(node_.input(0)), false, 0, 1), input_type_), node_.input(0)});
      Finish(chosen, OutputType(input_type_));
    } else {
      const bool normal = op.starts_with("RandomNormal"), like = op.ends_with("Like");
      const float offset = normal ? FloatAttribute(node_, "mean", 0) : FloatAttribute(node_, "low", 0);
      const float scale =
          normal ? FloatAttribute(node_, "scale", 1) : FloatAttribute(node_, "high", 1) - offset;
      const std::string shape = like ? ShapeOf(node_.input(0)) : StatedShape();
      Finish(Draw(shape, normal, offset, scale), OutputType(like ? input_type_ : kFloat));
    }
  }

 private:
  /// Each value is dropped where its number is below the ratio, and the others are larger by as much.
  void WriteDropout() {
    const std::string &data = node_.input(0), &trains = node_.input(2);
    const std::string ratio = node_.input(1).empty() ? Scalar(0.5F) : Cast(node_.input(1), kFloat);
    const std::string drawn = Draw(ShapeOf(data), false, 0, 1);
    const std::string kept = Add("Or", {Add("Not", {Add("Less", {drawn, ratio})}), Add("Not", {trains})});
    const std::string factor = Cast(Add("Sub", {Scalar(1), ratio}), input_type_);
    const std::string larger = Add("Where", {trains, Add("Div", {data, factor}), data});
    const std::string zero = Cast(Scalar(0), input_type_);
    const auto output = [&](int slot) { return node_.output_size() > slot ? node_.output(slot) : ""; };
    if (!output(0).empty()) AddNode("Where", {kept, larger, zero}, output(0));
    if (!output(1).empty()) AddNode("Identity", {kept}, output(1));
  }

  /// The largest of scores with Gumbel noise on them is a draw by their softmax.
  void WriteMultinomial() {
    const std::string scores = Cast(node_.input(0), kFloat);
    const std::string shape = ShapeOf(node_.input(0));
    const std::string count = Integers({IntAttribute(node_, "sample_size", 1)});
    const std::string batch = Add("Gather", {shape, Integers({0})}),
                      classes = Add("Gather", {shape, Integers({1})});
    const std::string drawn = Draw(Concat({batch, count, classes}), false, 0, 1);
    const std::string gumbel = Add("Neg", {Add("Log", {Add("Neg", {Add("Log", {drawn})})})});
    const std::string wide = Add("Reshape", {scores, Concat({batch, Integers({1}), classes})});
    onnx::NodeProto* choice = AddNode("ArgMax", {Add("Add", {wide, gumbel})}, NewName());
    *choice->add_attribute() = onnx::MakeAttribute("axis", 2);
    *choice->add_attribute() = onnx::MakeAttribute("keepdims", 0);
    AddCast(choice->output(0), IntAttribute(node_, "dtype", onnx::TensorProto::INT32), node_.output(0));
  }

  int64_t OutputType(int64_t otherwise) const { return IntAttribute(node_, "dtype", otherwise); }
  void Finish(const std::string& drawn, int64_t type) { AddCast(drawn, type, node_.output(0)); }

  std::string Draw(const std::string& shape, bool normal, float offset, float scale) {
    onnx::NodeProto* node = AddNode(kNoiseOp, {shape}, NewName());
    node->set_domain(kTapDomain);
    *node->add_attribute() = onnx::MakeAttribute("node", number_);
    *node->add_attribute() = onnx::MakeAttribute("normal", normal ? 1 : 0);
    *node->add_attribute() = onnx::MakeAttribute("offset", offset);
    *node->add_attribute() = onnx::MakeAttribute("scale", scale);
    return node->output(0);
  }

  std::string ShapeOf(const std::string& tensor) { return Add("Shape", {tensor}); }
  std::string StatedShape() {
    const auto* shape = FindAttribute(node_, "shape");
    return Integers(shape == nullptr ? std::vector<int64_t>()
                                     : std::vector<int64_t>(shape->ints().begin(), shape->ints().end()));
  }
  std::string Cast(const std::string& tensor, int64_t type) {
    const std::string name = NewName();
    AddCast(tensor, type, name);
    return name;
  }
  void AddCast(const std::string& tensor, int64_t type, const std::string& output) {
    *AddNode("Cast", {tensor}, output)->add_attribute() = onnx::MakeAttribute("to", type);
  }
  std::string Concat(const std::vector<std::string>& parts) {
    onnx::NodeProto* node = AddNode("Concat", parts, NewName());
    *node->add_attribute() = onnx::MakeAttribute("axis", 0);
    return node->output(0);
  }
  std::string Integers(const std::vector<int64_t>& values) {
    onnx::TensorProto tensor;
    tensor.set_data_type(onnx::TensorProto::INT64);
    tensor.add_dims(static_cast<int64_t>(values.size()));
    for (const int64_t value : values) tensor.add_int64_data(value);
    return Constant(tensor);
  }
  std::string Scalar(float value) {
    onnx::TensorProto tensor;
    tensor.set_data_type(onnx::TensorProto::FLOAT);
    tensor.add_float_data(value);
    return Constant(tensor);
  }
  std::string Constant(const onnx::TensorProto& value) {
    onnx::NodeProto* node = AddNode("Constant", {}, NewName());
    *node->add_attribute() = onnx::MakeAttribute("value", value);
    return node->output(0);
  }
  std::string Add(const std::string& op, const std::vector<std::string>& inputs) {
    return AddNode(op, inputs, NewName())->output(0);
  }
  onnx::NodeProto* AddNode(const std::string& op, const std::vector<std::string>& inputs,
                           const std::string& output) {
    onnx::NodeProto* node = graph_.add_node();
    node->set_op_type(op);
    for (const std::string& input : inputs) node->add_input(input);
    node->add_output(output);
    return node;
  }
  std::string NewName() { return fmt::format("halfsafe.noise/{}/{}", number_, names_++); }
  const onnx::NodeProto& node_;
  const int64_t number_;
  const int64_t input_type_;
  onnx::GraphProto& graph_;
  int names_ = 0;
};

/// The type of a node's first input; FLOAT where it has none.
DType InputType(const GraphIndex& index, int graph, const onnx::NodeProto& node) {
  for (const std::string& output : node.output()) {
    const int tensor = output.empty() ? -1 : index.FindTensor(graph, output);
    if (tensor < 0) continue;
    const std::vector<int>& inputs = index.node(index.tensor(tensor).producer).inputs;
    return inputs.empty() || inputs[0] < 0 ? DType::kFloat : index.tensor(inputs[0]).dtype;
  }
  return DType::kFloat;
}

}  // namespace

bool KeyNoise(const GraphIndex& index, onnx::ModelProto* proto) {
  const int opset = OpsetVersion(*proto, "");
  const auto draws = [&](const onnx::NodeProto& node) { return DrawsNumbers(node, opset); };
  int64_t number = 0;
  // Moving a node moves its bodies along, so inner graphs go first.
  const std::vector<onnx::GraphProto*> graphs = AllGraphs(proto->mutable_graph());
  for (size_t graph = graphs.size(); graph-- > 0;) {
    if (std::ranges::none_of(graphs[graph]->node(), draws)) continue;
    google::protobuf::RepeatedPtrField<onnx::NodeProto> nodes;
    nodes.Swap(graphs[graph]->mutable_node());
    for (auto& node : nodes) {
      if (!draws(node)) {
        graphs[graph]->add_node()->Swap(&node);
        continue;
      }
      Replacement(node, number++, InputType(index, static_cast<int>(graph), node), graphs[graph]).Write();
    }
  }
  if (number > 0) ImportTapDomain(proto);
  return number > 0;
}

uint64_t SampleKey(const std::string& name) {
  const size_t slash = name.find_last_of('/');
  uint64_t key = 0;
  for (const char c : std::string_view(name).substr(slash == std::string::npos ? 0 : slash + 1))
    key = Mixed(key, static_cast<unsigned char>(c));
  return key;
}

std::shared_ptr<OrtCustomOp> MakeNoiseOp(const NoiseRun* run) { return std::make_shared<NoiseOpType>(run); }

}  // namespace halfsafe
