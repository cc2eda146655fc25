#include <fmt/format.h>

#include <algorithm>
#include <unordered_map>

#include "base/json.h"
#include "halfsafe/engine.h"
#include "model/graph_index.h"
#include "tensorrt/constraints.h"

namespace halfsafe {
namespace {

/// A pinned node, as TensorRT's parser sees it.
struct PinnedByParser {
  std::string layer;
  Precision precision;
  bool floats_only;  ///< All its outputs are floating point.
  bool any_float;    ///< At least one is.
};

std::vector<PinnedByParser> AsParsed(const WeaklyTyped& weak) {
  const GraphIndex& index = weak.model.index();
  // Nodes by what they write: their names may be none, or another's too.
  std::unordered_map<std::string, std::vector<const NodeInfo*>> writers;
  for (const NodeInfo& node : index.nodes()) {
    for (const std::string& output : node.proto->output()) writers[output].push_back(&node);
  }
  std::vector<PinnedByParser> nodes;
  for (const PinnedNode& pinned : weak.pinned) {
    if (pinned.outputs.empty()) continue;  // Nobody reads what it computes, and no layer comes of it.
    const std::vector<const NodeInfo*>& writing = writers[pinned.outputs.front()];
    const auto found = std::find_if(writing.begin(), writing.end(), [&](const NodeInfo* node) {
      return node->proto->name() == pinned.local_name;
    });
    if (found == writing.end())
      throw Error(ExitCode::kInternal, fmt::format("no node {} in the weakly typed model", pinned.name));
    const NodeInfo& node = **found;
    const auto is_float = [&](int tensor) { return tensor < 0 || IsFloat(index.tensor(tensor).dtype); };
    const std::string& name = node.proto->name();
    nodes.push_back({name.empty() ? NamelessNode(node.proto->output(0)) : name, pinned.precision,
                     std::all_of(node.outputs.begin(), node.outputs.end(), is_float),
                     std::any_of(node.outputs.begin(), node.outputs.end(), is_float)});
  }
  return nodes;
}

/// One word of a shell's command line.
std::string Quoted(const std::string& word) {
  constexpr std::string_view kPlain = "-_=+:,./@%";
  const bool plain = std::all_of(word.begin(), word.end(), [&](char c) {
    return std::isalnum(static_cast<unsigned char>(c)) != 0 || kPlain.find(c) != std::string_view::npos;
  });
  if (plain) return word;
  std::string quoted = "'";
  for (const char c : word) quoted += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return quoted + "'";
}

/// A string of Python's, which JSON's are.
std::string PythonString(const std::string& text) {
  return nlohmann::json(text).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

constexpr char kScript[] = R"(
import tensorrt as trt

# ONNX nodes by the names that TensorRT's parser gives them, and what each runs in.
PINNED = {{
{pinned}}}
# Inputs and outputs that these read and write in FP32, without a conversion between.
WIDE_IO = [{wide_io}]
TYPES = {{"fp32": trt.float32, "bf16": getattr(trt, "bfloat16", trt.float32)}}  # TensorRT 8.6 has no BF16.
FLOATS = (trt.float32, trt.float16, TYPES["bf16"])


def nodes_of(layer):
    """The ONNX nodes that the parser made this layer for."""
    found = [layer.name]
    for entry in (getattr(layer, "metadata", "") or "").split("[ONNX Layer: ")[1:]:
        found.append(entry[:entry.rfind("]")].split(" | ")[0])
    return found


def postprocess(network):
    missing = set(PINNED)
    for number in range(network.num_layers):
        layer = network.get_layer(number)
        node = next((name for name in nodes_of(layer) if name in PINNED), None)
        if node is None:
            continue
        missing.discard(node)
        tensors = [layer.get_input(i) for i in range(layer.num_inputs)]
        outputs = [layer.get_output(i) for i in range(layer.num_outputs)]
        if not any(tensor is not None and tensor.dtype in FLOATS for tensor in tensors + outputs):
            continue
        layer.precision = TYPES[PINNED[node]]
        for i, output in enumerate(outputs):
            if output is not None and output.dtype in FLOATS and not output.is_shape_tensor:
                layer.set_output_type(i, TYPES[PINNED[node]])
    ports = [network.get_input(i) for i in range(network.num_inputs)]
    ports += [network.get_output(i) for i in range(network.num_outputs)]
    for tensor in ports:
        if tensor.name in WIDE_IO:
            tensor.allowed_formats = 1 << int(trt.TensorFormat.LINEAR)
    for name in sorted(missing):
        print(f"halfsafe: TensorRT's parser made no layer for {{name}}")
)";

}  // namespace

ToolArguments TrtexecArguments(const WeaklyTyped& weak) {
  ToolArguments arguments;
  std::vector<std::string> precisions, outputs;
  bool bf16 = false;
  for (const PinnedByParser& node : AsParsed(weak)) {
    // Its lists are split at every comma first, and quotes are taken out of names.
    if (node.layer.find_first_of(",'") != std::string::npos) {
      arguments.notes.push_back(
          fmt::format("trtexec can't be told of {}: it takes no commas or quotes in names", node.layer));
      continue;
    }
    const std::string pin = fmt::format("{}:{}", node.layer, PrecisionName(node.precision));
    bf16 = bf16 || node.precision == Precision::kBf16;
    precisions.push_back(pin);
    // One type stands for all outputs of a layer.
    if (node.floats_only) outputs.push_back(pin);
    if (node.any_float && !node.floats_only) {
      arguments.notes.push_back(fmt::format(
          "what {} stores is left to TensorRT: trtexec takes one type for all its outputs, and they differ",
          node.layer));
    }
  }
  arguments.text = "--fp16 --noTF32";
  if (bf16) {
    arguments.text += " --bf16";
    arguments.notes.push_back(
        "trtexec has bf16 from version 10 on; for 8.6 leave --bf16 out, and write fp32");
  }
  if (!precisions.empty()) {
    arguments.text += " --precisionConstraints=obey";
    const std::string pins = fmt::format("--layerPrecisions={}", fmt::join(precisions, ","));
    arguments.text += " " + Quoted(pins);
    constexpr size_t kLongest = 131071;  // Linux takes no longer argument (MAX_ARG_STRLEN).
    if (pins.size() > kLongest)
      arguments.notes.push_back("the list is longer than an argument may be: use a Polygraphy script");
  }
  if (!weak.wide_io.empty()) {
    arguments.text += " --directIO";
    arguments.notes.push_back(fmt::format(
        "--directIO is for {}, which TensorRT may store in FP16 otherwise; trtexec takes it for every input "
        "and output",
        fmt::join(weak.wide_io, ", ")));
  }
  if (!outputs.empty())
    arguments.text += " " + Quoted(fmt::format("--layerOutputTypes={}", fmt::join(outputs, ",")));
  return arguments;
}

ToolArguments PolygraphyScript(const WeaklyTyped& weak) {
  ToolArguments script;
  std::string pinned;
  bool bf16 = false;
  for (const PinnedByParser& node : AsParsed(weak)) {
    pinned += fmt::format("    {}: \"{}\",\n", PythonString(node.layer), PrecisionName(node.precision));
    bf16 = bf16 || node.precision == Precision::kBf16;
  }
  script.text = fmt::format(
      "\"\"\"Pins what a plan of halfsafe's keeps out of FP16.\n\n"
      "    polygraphy run MODEL --trt --fp16{} --precision-constraints obey{} "
      "--trt-network-postprocess-script THIS_FILE\n"
      "\"\"\"\n",
      bf16 ? " --bf16" : "", weak.wide_io.empty() ? "" : " --direct-io");
  std::vector<std::string> wide_io;
  for (const std::string& name : weak.wide_io) wide_io.push_back(PythonString(name));
  script.text += fmt::format(kScript, fmt::arg("pinned", pinned),
                             fmt::arg("wide_io", fmt::format("{}", fmt::join(wide_io, ", "))));
  if (bf16)
    script.notes.push_back("TensorRT 8.6 has no BF16: leave --bf16 out there, and FP32 takes its place");
  return script;
}

}  // namespace halfsafe
