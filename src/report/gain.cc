#include "report/gain.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <string_view>

#include "base/text.h"
#include "model/graph_index.h"
#include "model/walk.h"

namespace halfsafe {
namespace {

/// From this share of the work on, a model gains from its 16 bits.
constexpr double kGains = 0.5;

/// More room for constants than this, beside a hundredth, is not what inserted nodes bring.
constexpr uint64_t kFreeBytes = 4096;

uint64_t ConstantBytes(const Model& model) {
  uint64_t bytes = 0;
  for (const TensorInfo& tensor : model.index().tensors())
    bytes += tensor.data == nullptr ? 0 : TensorByteSize(*tensor.data);
  return bytes;
}

auto HalfTensors(const Model& model) {
  return std::ranges::count_if(model.index().tensors(), [](const TensorInfo& tensor) {
    return tensor.is_tensor && IsSixteenBit(tensor.dtype);
  });
}

/// What Apply gives has the digest of what it was made from, so that alone doesn't tell.
bool AreSame(const Model& original, const Model& fixed) {
  // A file in 16 bits is held against the FP32 model behind it.
  return &original.Lifted() == &original && original.sha256() == fixed.sha256() &&
         original.index().nodes().size() == fixed.index().nodes().size() &&
         HalfTensors(original) == HalfTensors(fixed);
}

/// The first node of the graph, bodies included, that `matches`; "" for none.
template <typename Matches>
std::string FirstNode(const Model& model, const Matches& matches) {
  const auto& nodes = model.index().nodes();
  const auto found = std::ranges::find_if(nodes, [&](const NodeInfo& node) { return matches(*node.proto); });
  return found == nodes.end() ? "" : fmt::format("{} ({})", found->name, found->proto->op_type());
}

bool IsQuantized(const onnx::NodeProto& node) {
  const std::string& op = node.op_type();
  const bool microsofts = node.domain() == "com.microsoft" && op.starts_with('Q') && op != "QuickGelu";
  return microsofts || op.find("uantize") != std::string::npos || op.starts_with("QLinear") ||
         op.find("Integer") != std::string::npos || op.find("NBits") != std::string::npos;
}

/// What the original is, where that explains what is left in FP32.
std::string KindOf(const Model& original) {
  if (const std::string node = FirstNode(original, &IsQuantized); !node.empty()) {
    std::string text =
        "the model is quantized, as " + node + " shows: 16 bits are for what lies between the integers";
    if (OpsetVersion(original.proto(), "") < 21)
      text += "; before opset 21 that is FP32 by ONNX's own types: --opset 21 raises it";
    return text;
  }
  const auto nchwc = [](const onnx::NodeProto& node) { return node.domain() == "com.microsoft.nchwc"; };
  if (const std::string node = FirstNode(original, nchwc); !node.empty())
    return "ONNX Runtime optimized the model for one kind of CPU, as " + node +
           " shows: fix the file that it was made from";
  const auto fused = [](const onnx::NodeProto& node) { return node.domain() == "com.microsoft"; };
  if (const std::string node = FirstNode(original, fused); !node.empty())
    return "ONNX Runtime optimized the model, as " + node +
           " shows: such operators stay FP32; fix the file that it was made from";
  return "";
}

/// The reason that most FP32 nodes have, and what it asks for.
std::string MostlyFor(const Report& report) {
  std::map<std::string_view, size_t> counts;
  for (const WideNode& node : report.fp32_nodes) ++counts[node.reason];
  const auto most = std::ranges::max_element(counts, {}, [](const auto& entry) { return entry.second; });
  if (most == counts.end()) return "";
  std::string_view help = "";
  if (most->first == "error") help = ": a looser tolerance (--rel-l2) would leave more in 16 bits";
  if (most->first == "no-half-type")
    help = ": their operators have no 16-bit type at this opset; --opset may give one";
  if (most->first == "user") help = ", as --keep and --keep-op ask";
  if (most->first == "cheaper-than-casts")
    help = ": in a network this small Casts cost more than 16 bits save; --free-casts doesn't count them";
  return fmt::format("{} of its {} FP32 nodes are FP32 for the reason {}{}", most->second,
                     report.fp32_nodes.size(), most->first, help);
}

}  // namespace

std::vector<std::string> LittleGained(const Model& original, const Model& fixed, const Report& report) {
  std::vector<std::string> why;
  if (report.command == "check" && AreSame(original, fixed)) {
    why.push_back("the fixed model is the original itself");
  } else if (HalfTensors(fixed) == 0) {
    why.push_back(HalfTensors(original) > 0 ? "the fixed model holds no 16-bit tensor and the original does: "
                                              "are they given in the wrong order?"
                                            : "the fixed model holds no 16-bit tensor");
  } else if (report.work && report.work->share < kGains) {
    why.push_back(fmt::format("{:.1f}% of the {} are in 16 bits or integers", 100.0 * report.work->share,
                              report.work->products ? "multiply-adds" : "bytes that nodes move"));
  }
  const uint64_t before = ConstantBytes(original.Lifted()), after = ConstantBytes(fixed);
  if (after > before + before / 100 + kFreeBytes)
    why.push_back(fmt::format("its constants take {}, {} before", ByteText(after), ByteText(before)));
  if (why.empty()) return why;
  for (std::string more : {MostlyFor(report), KindOf(original)}) {
    if (!more.empty()) why.push_back(std::move(more));
  }
  return why;
}

}  // namespace halfsafe
