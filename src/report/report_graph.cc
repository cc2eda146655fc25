#include "report/report_graph.h"

#include <fmt/format.h>
#include <onnx/onnx_pb.h>

#include <unordered_map>
#include <unordered_set>

#include "halfsafe/rewrite.h"

namespace halfsafe {
namespace {

std::string ShapeText(const TensorInfo& tensor) {
  if (!tensor.has_rank) return "";
  if (tensor.shape.empty()) return "scalar";
  std::string text;
  for (const int64_t size : tensor.shape) {
    if (!text.empty()) text += "×";
    text += size < 0 ? "?" : fmt::format("{}", size);
  }
  return text;
}

/// Those of the slots that are not left out.
std::vector<int> Present(const std::vector<int>& tensors) {
  std::vector<int> present;
  std::copy_if(tensors.begin(), tensors.end(), std::back_inserter(present), [](int id) { return id >= 0; });
  return present;
}

std::string PrecisionText(DType dtype) {
  switch (dtype) {
    case DType::kFloat16:
      return "FP16";
    case DType::kBfloat16:
      return "BF16";
    case DType::kFloat:
      return "FP32";
    default:
      return "";
  }
}

/// The graph of a model, with the ranges that are known of it.
ReportGraph GraphOf(const Model& model, const RangeTable* ranges) {
  const GraphIndex& index = model.index();
  ReportGraph graph;
  graph.tensors.reserve(index.tensors().size());
  for (const TensorInfo& info : index.tensors()) {
    ReportTensor& tensor = graph.tensors.emplace_back();
    tensor.name = info.name;
    tensor.kind = info.kind;
    tensor.dtype = info.dtype;
    tensor.shape = ShapeText(info);
    tensor.producer = info.kind == TensorKind::kConstant ? -1 : info.producer;
    tensor.output = info.graph_output && info.graph == 0;
    if (ranges != nullptr) tensor.stats = ranges->Find(info.name);
  }
  graph.nodes.reserve(index.nodes().size());
  for (const NodeInfo& info : index.nodes()) {
    ReportNode& node = graph.nodes.emplace_back();
    node.name = info.name;
    node.op_type = info.proto->op_type();
    node.inputs = Present(info.inputs);
    node.outputs = Present(info.outputs);
  }
  return graph;
}

void AddPlan(const Plan& plan, const Model& model, ReportGraph* graph) {
  for (const NodePlan& planned : plan.nodes) {
    const int id = model.index().FindNode(planned.name);
    if (id < 0) continue;
    ReportNode& node = graph->nodes[static_cast<size_t>(id)];
    node.precision = PrecisionText(planned.precision == Precision::kFp16   ? DType::kFloat16
                                   : planned.precision == Precision::kBf16 ? DType::kBfloat16
                                                                           : DType::kFloat);
    node.reason = planned.reason;
    node.evidence = planned.evidence;
  }
  for (const TensorPlan& planned : plan.tensors) {
    const int id = model.index().FindTensor(planned.name);
    if (id >= 0) graph->tensors[static_cast<size_t>(id)].exponent = planned.exponent;
  }
}

/// Fills in what the nodes of a fixed model say of themselves, and by their types what they don't.
void AddFindings(const Model& fixed, ReportGraph* graph) {
  const GraphIndex& index = fixed.index();
  for (size_t id = 0; id < graph->nodes.size(); ++id) {
    const NodeFindings findings = FindingsOf(*index.nodes()[id].proto);
    ReportNode& node = graph->nodes[id];
    node.reason = findings.reason;
    node.evidence = findings.evidence;
    for (const std::string* what : {&findings.inserted, &findings.rescaled, &findings.constants}) {
      if (!what->empty()) node.repair += (node.repair.empty() ? "" : "; ") + *what;
    }
    for (const int output : node.outputs) {
      if (node.precision.empty()) node.precision = PrecisionText(index.tensor(output).dtype);
    }
  }
}

/// Ties the two graphs together by the names of nodes and tensors, which Apply keeps.
class Counterparts {
 public:
  Counterparts(const GraphSources& sources, ReportGraphs* graphs)
      : original_(sources.model.Lifted().index()),
        fixed_(sources.fixed->index()),
        of_original_(graphs->original),
        of_fixed_(*graphs->fixed) {}

  void Tie() {
    for (size_t id = 0; id < of_fixed_.tensors.size(); ++id)
      of_fixed_.tensors[id].counterpart = FormOf(of_fixed_.tensors[id].name);
    for (size_t id = 0; id < of_original_.tensors.size(); ++id) {
      ReportTensor& tensor = of_original_.tensors[id];
      tensor.counterpart = tensor.producer < 0 ? fixed_.FindTensor(tensor.name) : -1;
    }
    for (size_t id = 0; id < of_fixed_.nodes.size(); ++id) TieNode(static_cast<int>(id));
  }

 private:
  /// What `find` finds under a name, or else under that of which it is another form; -1 for nothing.
  template <typename Find>
  static int FindForm(std::string name, const Find& find) {
    constexpr int kMostForms =
        128;  // Of a tensor, and of the nodes around it. Names may hold any number of dots.
    for (int forms = 0; forms < kMostForms; ++forms) {
      const int found = find(name);
      std::string shorter = OriginalName(name);
      if (found >= 0 || shorter == name) return found;
      name = std::move(shorter);
    }
    return -1;
  }

  /// The original's tensor that one of the fixed model is, or is another form of.
  int FormOf(const std::string& name) const {
    return FindForm(name, [this](const std::string& form) { return original_.FindTensor(form); });
  }

  /// The original's node that one of the fixed model is. Inserted nodes have names of their own; a node
  /// without one goes by its first output, which may be another form now.
  int NodeOf(int id) const {
    const NodeInfo& node = fixed_.node(id);
    const bool inside = node.name.find('/') != std::string::npos;  // Maybe in the body of a node without one.
    const int same = inside ? FindForm(node.name, [this](auto& form) { return original_.FindNode(form); })
                            : original_.FindNode(node.name);
    if (same >= 0 || !node.proto->name().empty() || node.outputs.empty() || node.outputs[0] < 0) return same;
    const int form = of_fixed_.tensors[static_cast<size_t>(node.outputs[0])].counterpart;
    return form < 0 ? -1 : original_.tensor(form).producer;
  }

  void TieNode(int id) {
    ReportNode& node = of_fixed_.nodes[static_cast<size_t>(id)];
    const int original = NodeOf(id);
    node.inserted = original < 0 || original_.node(original).proto->op_type() != node.op_type;
    if (node.inserted) return;
    const auto& outputs = original_.node(original).outputs;
    const auto& stored = fixed_.node(id).outputs;
    for (size_t slot = 0; slot < std::min(outputs.size(), stored.size()); ++slot) {
      if (outputs[slot] >= 0)
        of_original_.tensors[static_cast<size_t>(outputs[slot])].counterpart = stored[slot];
    }
    ReportNode& counterpart = of_original_.nodes[static_cast<size_t>(original)];
    counterpart.repair = node.repair;
    // A plan says more than the model that it became.
    (counterpart.precision.empty() ? TakeOver(node, &counterpart) : TakeOver(counterpart, &node));
  }

  static void TakeOver(const ReportNode& from, ReportNode* to) {
    to->precision = from.precision;
    to->reason = from.reason;
    to->evidence = from.evidence;
  }

  const GraphIndex& original_;
  const GraphIndex& fixed_;
  ReportGraph& of_original_;
  ReportGraph& of_fixed_;
};

/// Marks what overflows: by the original's ranges, or where there are none by those of the fixed model.
void MarkOverflow(const GraphSources& sources, ReportGraphs* graphs) {
  const auto mark = [&](const Model& model, const RangeTable& ranges, ReportGraph* graph) {
    for (const std::string& name : OverflowingTensors(ranges, sources.threshold)) {
      const int id = model.index().FindTensor(name);
      if (id >= 0) graph->tensors[static_cast<size_t>(id)].overflows = true;
    }
  };
  if (sources.ranges != nullptr) mark(sources.model.Lifted(), *sources.ranges, &graphs->original);
  if (sources.fixed != nullptr && sources.fixed_ranges != nullptr) {
    // FP32 and BF16 are where large values may be, and what is infinite in the original may be here.
    for (const TensorStats& stats : sources.fixed_ranges->tensors) {
      const int id = sources.fixed->index().FindTensor(stats.name);
      if (id < 0 || stats.constant) continue;
      ReportTensor& tensor = graphs->fixed->tensors[static_cast<size_t>(id)];
      const TensorStats* before =
          tensor.counterpart < 0 ? nullptr
                                 : graphs->original.tensors[static_cast<size_t>(tensor.counterpart)].stats;
      const bool broken_before = before != nullptr && before->inf_count + before->nan_count > 0;
      tensor.overflows = tensor.dtype == DType::kFloat16 && !broken_before &&
                         stats.overflow_count + stats.inf_count + stats.nan_count > 0;
    }
  }
}

}  // namespace

ReportGraphs BuildGraphs(const GraphSources& sources) {
  ReportGraphs graphs{GraphOf(sources.model.Lifted(), sources.ranges), std::nullopt};
  if (sources.plan != nullptr) AddPlan(*sources.plan, sources.model.Lifted(), &graphs.original);
  if (sources.fixed != nullptr) {
    graphs.fixed = GraphOf(*sources.fixed, sources.fixed_ranges);
    AddFindings(*sources.fixed, &*graphs.fixed);
    Counterparts(sources, &graphs).Tie();
  }
  MarkOverflow(sources, &graphs);
  return graphs;
}

}  // namespace halfsafe
