#include <fmt/format.h>
#include <onnx/defs/attr_proto_util.h>

#include <algorithm>
#include <cmath>

#include "halfsafe/rewrite.h"
#include "model/walk.h"
#include "rewrite/rewriter.h"

namespace halfsafe {
namespace {

/// Makes the forms of one activation or input from the one that it is stored in.
class FormMaker {
 public:
  FormMaker(Rewriter* rewriter, int tensor)
      : rewriter_(rewriter),
        info_(rewriter->index.tensor(tensor)),
        stored_(rewriter->StoredForm(tensor)),
        names_(rewriter->names[static_cast<size_t>(tensor)]) {}

  /// The name of the tensor in this form; the nodes that give it are added where it is not there yet.
  /// Multiplications stand on the FP32 side of a Cast, where they are exact whatever the value.
  std::string Make(const Form& form, std::string name = "") {
    if (const auto found = names_.find(form); found != names_.end()) return found->second;
    if (name.empty()) name = rewriter_->NewName(info_.local, form);
    Form from = form;
    if (form.dtype != stored_.dtype && (form.dtype != DType::kFloat || !Scaled(form))) {
      from.dtype = Scaled(form) ? DType::kFloat : stored_.dtype;
      AddCast(Make(from), name, form.dtype);
    } else {
      from = {form.dtype, stored_.exponent};
      Rescale(Make(from), form, name);
    }
    names_[form] = name;
    return name;
  }

 private:
  bool Scaled(const Form& form) const {
    return form.exponent != stored_.exponent || form.highest != stored_.highest;
  }

  /// `why`: the finding.
  onnx::NodeProto& AddNode(const char* op, const std::string& from, const std::string& to, std::string why) {
    onnx::NodeProto& node = rewriter_->InsertBehind(info_, op, std::string(op) + "_" + to, to);
    node.add_input(from);
    NodeFindings findings;
    findings.inserted = std::move(why);
    SetFindings(findings, &node);
    return node;
  }

  void AddCast(const std::string& from, const std::string& to, DType dtype) {
    *AddNode("Cast", from, to,
             fmt::format("{} is stored in {}; its readers here take {}", info_.name, DTypeName(stored_.dtype),
                         DTypeName(dtype)))
         .add_attribute() = onnx::MakeAttribute("to", static_cast<int64_t>(dtype));
  }

  /// Clamps at the scaled size and multiplies by a power of two, in steps that FP16 can state.
  void Rescale(std::string from, const Form& form, const std::string& name) {
    const int kLargestStep = form.dtype == DType::kFloat16 ? 14 : 100;
    const int exponent = stored_.exponent;
    int left = exponent - form.exponent;
    // Where FP16 has no number for the bound any more, infinity does: these functions saturate there too.
    constexpr double kSmallestBound = 0x1p-24;
    const bool bound = form.dtype != DType::kFloat16 || std::ldexp(form.highest, -exponent) >= kSmallestBound;
    if (std::isfinite(form.highest) && bound) {
      const std::string clamped =
          left == 0 ? name : rewriter_->NewName(info_.local, {form.dtype, exponent, 0.0, 0.0});
      AddClamp(from, clamped, form, exponent);
      from = clamped;
    }
    while (left != 0) {
      const int step = std::clamp(left, -kLargestStep, kLargestStep);
      left -= step;
      const std::string to =
          left == 0 ? name : rewriter_->NewName(info_.local, {form.dtype, form.exponent + left});
      AddNode("Mul", from, to,
              fmt::format("{} is stored times 2^{}; its readers here take it times 2^{}", info_.name,
                          -stored_.exponent, -form.exponent))
          .add_input(rewriter_->Scalar(std::ldexp(1.0f, step), form.dtype));
      from = to;
    }
  }

  void AddClamp(const std::string& from, const std::string& to, const Form& form, int exponent) {
    const float lowest = static_cast<float>(std::ldexp(form.lowest, -exponent));
    const float highest = static_cast<float>(std::ldexp(form.highest, -exponent));
    constexpr int kBoundsAreInputs = 11;  // Opset from which Clip takes its bounds as inputs.
    onnx::NodeProto& clip =
        AddNode("Clip", from, to,
                fmt::format("beyond {:g} and {:g} {} makes no difference to its readers here", form.lowest,
                            form.highest, info_.name));
    if (OpsetVersion(rewriter_->proto, "") >= kBoundsAreInputs) {
      clip.add_input(rewriter_->Scalar(lowest, form.dtype));
      clip.add_input(rewriter_->Scalar(highest, form.dtype));
      return;
    }
    *clip.add_attribute() = onnx::MakeAttribute("min", lowest);
    *clip.add_attribute() = onnx::MakeAttribute("max", highest);
  }

  Rewriter* rewriter_;
  const TensorInfo& info_;
  const Form stored_;
  std::map<Form, std::string>& names_;
};

/// The form under which an output of the main graph must keep the tensor's name.
Form NamedForm(const Rewriter& rewriter, int tensor) {
  const TensorInfo& info = rewriter.index.tensor(tensor);
  const auto& outputs = rewriter.ports.outputs_of(tensor);
  for (size_t i = 0; i < outputs.size(); ++i) {
    if (outputs[i].graph == 0) return rewriter.WantedBy(tensor, info.uses.size() + i);
  }
  return rewriter.StoredForm(tensor);
}

}  // namespace

void InsertCasts(Rewriter* rewriter) {
  for (size_t id = 0; id < rewriter->index.tensors().size(); ++id) {
    const TensorInfo& tensor = rewriter->index.tensors()[id];
    const int number = static_cast<int>(id);
    auto& names = rewriter->names[id];
    if (!names.empty()) continue;  // A constant.
    const Form stored = rewriter->StoredForm(number);
    const TensorPorts& ports = rewriter->ports.of(number);
    if (ports.writer == kNoFloat) {
      names[stored] = tensor.local;
      continue;
    }
    const Form named = tensor.kind == TensorKind::kInput ? stored : NamedForm(*rewriter, number);
    names[stored] = named == stored ? tensor.local : rewriter->NewName(tensor.local, stored);
    FormMaker forms(rewriter, number);
    if (named != stored) {
      rewriter->nodes[static_cast<size_t>(tensor.producer)]->set_output(tensor.producer_slot, names[stored]);
      forms.Make(named, tensor.local);
    }
    for (size_t reader = 0; reader < ports.readers.size(); ++reader)
      forms.Make(rewriter->WantedBy(number, reader));
  }
}

void ConnectReaders(Rewriter* rewriter) {
  for (size_t id = 0; id < rewriter->index.tensors().size(); ++id) {
    const TensorInfo& tensor = rewriter->index.tensors()[id];
    const int number = static_cast<int>(id);
    const auto& names = rewriter->names[id];
    if (rewriter->ports.of(number).writer == kNoFloat) continue;
    const auto name = [&](size_t reader) {
      const auto found = names.find(rewriter->WantedBy(number, reader));
      return found != names.end() ? found->second : tensor.local;
    };
    for (size_t use = 0; use < tensor.uses.size(); ++use) {
      rewriter->nodes[static_cast<size_t>(tensor.uses[use].node)]->set_input(tensor.uses[use].slot,
                                                                             name(use));
    }
    const auto& outputs = rewriter->ports.outputs_of(number);
    for (size_t i = 0; i < outputs.size(); ++i) {
      if (outputs[i].graph == 0) continue;  // The main graph's outputs keep their names.
      rewriter->graphs[static_cast<size_t>(outputs[i].graph)]
          ->mutable_output(outputs[i].slot)
          ->set_name(name(tensor.uses.size() + i));
    }
  }
}

void PlaceNodes(Rewriter* rewriter) {
  std::vector<std::vector<size_t>> members(rewriter->graphs.size());
  for (size_t node = 0; node < rewriter->nodes.size(); ++node) {
    members[static_cast<size_t>(rewriter->index.nodes()[node].graph)].push_back(node);
  }
  // Inner graphs come after outer ones in number, and moving a node moves its bodies along, so inner graphs
  // go first.
  for (size_t graph = rewriter->graphs.size(); graph-- > 0;) {
    google::protobuf::RepeatedPtrField<onnx::NodeProto> nodes;
    nodes.Swap(rewriter->graphs[graph]->mutable_node());
    const auto append = [&](onnx::NodeProto* node) { rewriter->graphs[graph]->add_node()->Swap(node); };
    for (auto& node : rewriter->at_start[graph]) append(&node);
    for (size_t i = 0; i < members[graph].size(); ++i) {
      append(nodes.Mutable(static_cast<int>(i)));
      for (auto& node : rewriter->behind_node[members[graph][i]]) append(&node);
    }
  }
}

}  // namespace halfsafe
