#include <fmt/format.h>
#include <onnx/defs/attr_proto_util.h>

#include "halfsafe/error.h"
#include "model/walk.h"
#include "rewrite/rewriter.h"

namespace halfsafe {
namespace {

/// Loop carries sequences from this opset on.
constexpr int kLoopsCarrySequences = 13;

void AddScalar(const char* name, int type, google::protobuf::RepeatedPtrField<onnx::ValueInfoProto>* values) {
  onnx::ValueInfoProto* value = values->Add();
  value->set_name(name);
  value->mutable_type()->mutable_tensor_type()->set_elem_type(type);
  value->mutable_type()->mutable_tensor_type()->mutable_shape();
}

void AddSequence(const char* name, DType dtype,
                 google::protobuf::RepeatedPtrField<onnx::ValueInfoProto>* values) {
  onnx::ValueInfoProto* value = values->Add();
  value->set_name(name);
  value->mutable_type()->mutable_sequence_type()->mutable_elem_type()->mutable_tensor_type()->set_elem_type(
      static_cast<int>(dtype));
}

/// Writes nodes that make a sequence of another element type.
class SequenceCast {
 public:
  /// Of `tensor`, whose value is found as `from`, as elements of `dtype` under the name `to`.
  SequenceCast(Rewriter* rewriter, const TensorInfo& tensor, std::string from, std::string to, DType dtype)
      : rewriter_(rewriter), tensor_(tensor), from_(std::move(from)), to_(std::move(to)), dtype_(dtype) {}

  /// No operator casts the elements of a sequence, so a Loop takes one after the other.
  void Insert() {
    const std::string length = Name("length"), empty = Name("empty");
    Add("SequenceLength", length).add_input(from_);
    *Add("SequenceEmpty", empty).add_attribute() = onnx::MakeAttribute("dtype", static_cast<int64_t>(dtype_));
    onnx::NodeProto& loop = Add("Loop", to_);
    for (const std::string& input : {length, std::string(), empty}) loop.add_input(input);
    auto* attribute = loop.add_attribute();
    attribute->set_name("body");
    attribute->set_type(onnx::AttributeProto::GRAPH);
    FillBody(attribute->mutable_g());
  }

 private:
  std::string Name(const char* what) {
    return rewriter_->NewName(fmt::format("{}.{}", tensor_.local, what), {dtype_});
  }

  void Find(onnx::NodeProto* node) const {
    NodeFindings findings;
    findings.inserted = fmt::format("the elements of {} become {}: the model's file has them in 16 bits",
                                    tensor_.name, DTypeName(dtype_));
    SetFindings(findings, node);
  }

  onnx::NodeProto& Add(const char* op, const std::string& output) {
    onnx::NodeProto& node = rewriter_->InsertBehind(tensor_, op, fmt::format("{}_{}", op, output), output);
    Find(&node);
    return node;
  }

  void FillBody(onnx::GraphProto* body) const {
    body->set_name("cast elements");
    AddScalar("i", onnx::TensorProto::INT64, body->mutable_input());
    AddScalar("go_on", onnx::TensorProto::BOOL, body->mutable_input());
    AddSequence("before", dtype_, body->mutable_input());
    AddScalar("going_on", onnx::TensorProto::BOOL, body->mutable_output());
    AddSequence("after", dtype_, body->mutable_output());
    const auto add = [&](const char* op, std::initializer_list<std::string> inputs, const char* output) {
      onnx::NodeProto* node = body->add_node();
      node->set_op_type(op);
      for (const std::string& input : inputs) node->add_input(input);
      node->add_output(output);
      Find(node);
      return node;
    };
    add("Identity", {"go_on"}, "going_on");
    add("SequenceAt", {from_, "i"}, "element");
    *add("Cast", {"element"}, "converted")->add_attribute() =
        onnx::MakeAttribute("to", static_cast<int64_t>(dtype_));
    add("SequenceInsert", {"before", "converted"}, "after");
  }

  Rewriter* rewriter_;
  const TensorInfo& tensor_;
  std::string from_, to_;
  DType dtype_;
};

void SetElementType(onnx::ValueInfoProto* value, DType dtype) {
  value->mutable_type()->mutable_sequence_type()->mutable_elem_type()->mutable_tensor_type()->set_elem_type(
      static_cast<int>(dtype));
}

/// Nodes, and bodies that hand the tensor out, take it under another name.
void ReadUnder(const std::string& name, int id, Rewriter* rewriter) {
  for (const TensorUse& use : rewriter->index.tensor(id).uses)
    rewriter->nodes[static_cast<size_t>(use.node)]->set_input(use.slot, name);
  for (const auto& output : rewriter->ports.outputs_of(id)) {
    if (output.graph != 0)
      rewriter->graphs[static_cast<size_t>(output.graph)]->mutable_output(output.slot)->set_name(name);
  }
}

void ConvertSequence(int id, DType dtype, Rewriter* rewriter) {
  const TensorInfo& tensor = rewriter->index.tensor(id);
  if (OpsetVersion(rewriter->proto, "") < kLoopsCarrySequences) {
    throw BadInput(fmt::format(
        "{}: {} is a sequence of {} in the file, which before opset {} no operator makes of one of float32: "
        "raise it with --opset, or give the model FP32 inputs and outputs with --io fp32",
        rewriter->model.path().string(), tensor.name, DTypeName(dtype), kLoopsCarrySequences));
  }
  const std::string wide = rewriter->NewName(tensor.local, {DType::kFloat});
  onnx::GraphProto* graph = rewriter->graphs[0];
  ReadUnder(wide, id, rewriter);
  if (tensor.kind == TensorKind::kInput) {
    SequenceCast(rewriter, tensor, tensor.local, wide, DType::kFloat).Insert();
    for (auto& input : *graph->mutable_input()) {
      if (input.name() == tensor.local) SetElementType(&input, dtype);
    }
  } else {
    rewriter->nodes[static_cast<size_t>(tensor.producer)]->set_output(tensor.producer_slot, wide);
    SequenceCast(rewriter, tensor, wide, tensor.local, dtype).Insert();
  }
  for (auto& output : *graph->mutable_output()) {
    if (output.name() == tensor.local) SetElementType(&output, dtype);
  }
}

}  // namespace

void ConvertSequences(Rewriter* rewriter) {
  for (const auto& [tensor, dtype] : std::map(rewriter->io.begin(), rewriter->io.end())) {
    if (!rewriter->index.tensor(tensor).is_tensor && dtype != DType::kFloat)
      ConvertSequence(tensor, dtype, rewriter);
  }
}

}  // namespace halfsafe
