#include "model/functions.h"

#include <fmt/format.h>
#include <onnx/inliner/inliner.h>

#include <algorithm>
#include <map>
#include <tuple>

#include "halfsafe/error.h"

namespace halfsafe {
namespace {

/// Calls inside of calls: exporters make one level a module.
constexpr int kDeepestCalls = 64;
/// What functions may stand for, in bytes, whatever the model's size; and how many times the model's size on
/// top. Functions that call functions twice double with each level, so a few kB could stand for more than
/// memory holds.
constexpr double kInlinedBytes = 32 << 20;
constexpr double kInlinedTimes = 8.0;
/// What a node costs beside its bytes.
constexpr double kNode = 64.0;

using Name = std::tuple<std::string, std::string, std::string>;

/// Counts the bytes that a graph has once its calls are replaced by what they call.
class Expansion {
 public:
  Expansion(const std::string& path, const onnx::ModelProto& model) : path_(path) {
    for (const auto& function : model.functions())
      functions_[{function.domain(), function.name(), function.overload()}] = &function;
    FindLargestArgument(model.graph().node());
    for (const auto& function : model.functions()) FindLargestArgument(function.node());
  }

  double BytesOf(const google::protobuf::RepeatedPtrField<onnx::NodeProto>& nodes) {
    double bytes = 0.0;
    for (const auto& node : nodes) bytes += BytesOf(node);
    return bytes;
  }

 private:
  const onnx::FunctionProto* Called(const onnx::NodeProto& node) const {
    const auto found = functions_.find({node.domain(), node.op_type(), node.overload()});
    return found == functions_.end() ? nullptr : found->second;
  }

  void FindLargestArgument(const google::protobuf::RepeatedPtrField<onnx::NodeProto>& nodes) {
    for (const auto& node : nodes) {
      const bool call = Called(node) != nullptr;
      for (const auto& attribute : node.attribute()) {
        if (call)
          largest_argument_ = std::max(largest_argument_, static_cast<double>(attribute.ByteSizeLong()));
        FindLargestArgument(attribute.g().node());
        for (const auto& graph : attribute.graphs()) FindLargestArgument(graph.node());
      }
    }
  }

  double BytesOf(const onnx::NodeProto& node) {
    if (const onnx::FunctionProto* function = Called(node)) return BytesOf(*function);
    double bytes = static_cast<double>(node.ByteSizeLong()) + kNode;
    for (const auto& attribute : node.attribute()) {
      // An argument of the call may come in its place.
      if (!attribute.ref_attr_name().empty()) bytes += largest_argument_;
      bytes += BytesOf(attribute.g().node());
      for (const auto& graph : attribute.graphs()) bytes += BytesOf(graph.node());
    }
    return bytes;
  }

  double BytesOf(const onnx::FunctionProto& function) {
    if (const auto known = bytes_.find(&function); known != bytes_.end()) return known->second;
    if (depth_ == kDeepestCalls) {
      throw BadInput(fmt::format(
          "{}: its model-local functions call one another in a circle, or more than {} deep, as {} does",
          path_, kDeepestCalls, function.name()));
    }
    ++depth_;
    // The whole function is copied for each call.
    const double bytes = static_cast<double>(function.ByteSizeLong()) + BytesOf(function.node());
    --depth_;
    bytes_[&function] = bytes;
    return bytes;
  }

  const std::string& path_;
  std::map<Name, const onnx::FunctionProto*> functions_;
  std::map<const onnx::FunctionProto*, double> bytes_;
  double largest_argument_ = 0.0;
  int depth_ = 0;
};

}  // namespace

void InlineFunctions(const std::string& path, onnx::ModelProto* model) {
  if (model->functions_size() == 0) return;
  const double bytes = Expansion(path, *model).BytesOf(model->graph().node());
  const double most = kInlinedBytes + kInlinedTimes * static_cast<double>(model->ByteSizeLong());
  if (bytes > most) {
    throw BadInput(fmt::format(
        "{}: its model-local functions expand to {:.3g} bytes, expected at most {:.3g}", path, bytes, most));
  }
  try {
    onnx::inliner::InlineLocalFunctions(*model, true);
  } catch (const std::exception& error) {
    throw BadInput(fmt::format("{}: its model-local functions can't be inlined: {}", path, error.what()));
  }
}

}  // namespace halfsafe
