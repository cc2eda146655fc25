#include <algorithm>
#include <cmath>
#include <optional>
#include <set>

#include "halfsafe/half.h"
#include "halfsafe/rewrite.h"
#include "rewrite/rewriter.h"

namespace halfsafe {
namespace {

/// Whether a weakly typed runtime may make this scalar FP16 and still compute with the same number.
bool HalfHolds(float value) {
  const double size = std::fabs(static_cast<double>(value));
  return size == 0.0 || std::isinf(value) || (size >= kHalfMinNormal && size <= kHalfMax);
}

PinnedNode Pin(const std::string& name, Precision precision, const onnx::NodeProto& node) {
  PinnedNode pin{name, precision, node.name(), {}};
  for (const std::string& output : node.output()) {
    if (!output.empty()) pin.outputs.push_back(output);
  }
  return pin;
}

/// Finds out which nodes of a rewritten model may not run in FP16.
class PinFinder {
 public:
  PinFinder(const Rewriter& rewriter, const Plan& plan) : rewriter_(rewriter) {
    for (const NodePlan& node : plan.nodes) {
      const int id = rewriter.index.FindNode(node.name);
      if (id >= 0 && node.precision != Precision::kFp16) planned_[id] = node.precision;
    }
    for (const auto& [key, name] : rewriter.scalars) {
      if (!HalfHolds(key.first)) unfit_.insert(name);
    }
  }

  /// The pinned nodes of a graph, in their order. To be called for bodies before the graph that holds them,
  /// so that what reads an outer tensor is known when its writer's turn comes.
  std::vector<PinnedNode> Find(size_t number) {
    const onnx::GraphProto& graph = *rewriter_.graphs[number];
    std::vector<int> originals = rewriter_.index.NodesOf(static_cast<int>(number));
    std::vector<PinnedNode> found;
    // From the end: an inserted node's precision follows from that of its readers. Originals keep their
    // order.
    for (int i = graph.node_size(); i-- > 0;) {
      const onnx::NodeProto& node = graph.node(i);
      std::optional<PinnedNode> pin;
      if (node.output_size() > 0 && rewriter_.inserted.contains({number, node.output(0)})) {
        pin = PinInserted(node);
      } else {
        pin = PinOriginal(originals.back(), node);
        originals.pop_back();
      }
      if (!pin) continue;
      for (const std::string& input : node.input()) read_by_pinned_.insert(input);
      found.push_back(std::move(*pin));
    }
    std::reverse(found.begin(), found.end());
    return found;
  }

  /// WeaklyTyped::wide_io.
  std::vector<std::string> WideIo() const {
    std::vector<std::string> names;
    const GraphInfo& graph = rewriter_.index.graphs().front();
    for (const int id : graph.inputs) {
      const TensorInfo& input = rewriter_.index.tensor(id);
      const auto half = [&](const TensorUse& use) { return WritesFp16(use.node); };
      const auto wide = [&](const TensorUse& use) { return IsFp32(use.node); };
      if (input.dtype == DType::kFloat && std::none_of(input.uses.begin(), input.uses.end(), half) &&
          std::any_of(input.uses.begin(), input.uses.end(), wide))
        names.push_back(input.name);
    }
    for (const int id : graph.outputs) {
      const TensorInfo& output = rewriter_.index.tensor(id);
      if (output.dtype == DType::kFloat && IsFp32(output.producer)) names.push_back(output.name);
    }
    return names;
  }

 private:
  /// Not so Shape and what else only writes integers: that is no slower for reading FP32.
  bool WritesFp16(int node) const {
    const std::vector<int>& outputs = rewriter_.index.node(node).outputs;
    return !planned_.contains(node) && std::any_of(outputs.begin(), outputs.end(), [&](int output) {
      return output >= 0 && rewriter_.index.tensor(output).dtype == DType::kFloat;
    });
  }

  bool IsFp32(int node) const {
    const auto found = planned_.find(node);
    return found != planned_.end() && found->second == Precision::kFp32;
  }

  std::optional<PinnedNode> PinOriginal(int id, const onnx::NodeProto& node) const {
    const auto found = planned_.find(id);
    if (found == planned_.end()) return std::nullopt;
    return Pin(rewriter_.index.node(id).name, found->second, node);
  }

  /// A multiplication or clamp that brings a value to what a wide reader needs is as wide as that reader.
  std::optional<PinnedNode> PinInserted(const onnx::NodeProto& node) const {
    if (node.op_type() == "Constant") return std::nullopt;
    const bool unfit = std::any_of(node.input().begin(), node.input().end(),
                                   [&](const std::string& input) { return unfit_.contains(input); });
    if (!unfit && !read_by_pinned_.contains(node.output(0))) return std::nullopt;
    return Pin(node.name(), Precision::kFp32, node);
  }

  const Rewriter& rewriter_;
  std::map<int, Precision> planned_;
  std::set<std::string> unfit_;
  std::set<std::string> read_by_pinned_;
};

}  // namespace

WeaklyTyped ApplyWeakly(const Model& model, const Plan& plan) {
  Plan values = plan;
  values.nodes.clear();
  values.io.clear();
  Rewriter rewriter(model.Lifted(), values);
  RunPasses(&rewriter);
  PinFinder finder(rewriter, plan);
  std::vector<PinnedNode> pinned;
  for (size_t number = rewriter.graphs.size(); number-- > 0;) {
    std::vector<PinnedNode> found = finder.Find(number);
    pinned.insert(pinned.begin(), std::make_move_iterator(found.begin()),
                  std::make_move_iterator(found.end()));
  }
  std::vector<std::string> wide_io = finder.WideIo();
  return {Finish(&rewriter), std::move(pinned), std::move(wide_io)};
}

}  // namespace halfsafe
