#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cctype>

#include "base/json.h"
#include "halfsafe/engine.h"

namespace halfsafe {
namespace {

struct TypeWord {
  std::string_view word;
  DType dtype;
};

/// What versions call types, in lower case. Types that models can't have (FP8, FP4) are left out.
constexpr std::array kTypeWords = {
    TypeWord{"fp32", DType::kFloat},    TypeWord{"float", DType::kFloat},
    TypeWord{"float32", DType::kFloat}, TypeWord{"fp16", DType::kFloat16},
    TypeWord{"half", DType::kFloat16},  TypeWord{"float16", DType::kFloat16},
    TypeWord{"bf16", DType::kBfloat16}, TypeWord{"bfloat16", DType::kBfloat16},
    TypeWord{"int64", DType::kInt64},   TypeWord{"int32", DType::kInt32},
    TypeWord{"int8", DType::kInt8},     TypeWord{"uint8", DType::kUint8},
    TypeWord{"bool", DType::kBool},     TypeWord{"boolean", DType::kBool},
    TypeWord{"double", DType::kDouble}, TypeWord{"fp64", DType::kDouble},
};

bool IsWordCharacter(char c) { return std::isalnum(static_cast<unsigned char>(c)) != 0; }

/// The type that a word of `text` names: "Row major linear FP16 format", "Half".
DType TypeIn(std::string_view text) {
  for (size_t begin = 0; begin < text.size();) {
    size_t end = begin;
    std::string word;
    while (end < text.size() && IsWordCharacter(text[end]))
      word += static_cast<char>(std::tolower(static_cast<unsigned char>(text[end++])));
    const auto found = std::find_if(kTypeWords.begin(), kTypeWords.end(),
                                    [&](const TypeWord& type) { return type.word == word; });
    if (found != kTypeWords.end()) return found->dtype;
    begin = end + 1;
  }
  return DType::kUndefined;
}

/// How names begin that TensorRT makes up for layers of its own.
constexpr std::array<std::string_view, 7> kOwnNames = {
    "Reformatting CopyNode for ", "shuffle_between_",      "shuffle_after_",   "squeeze_after_",
    "unsqueeze_node_after_",      "copied_squeeze_after_", "(Unnamed Layer* ",
};

bool IsOwnName(std::string_view name) {
  return std::any_of(kOwnNames.begin(), kOwnNames.end(),
                     [&](std::string_view prefix) { return name.starts_with(prefix); });
}

std::vector<std::string> Split(std::string_view text, std::string_view separator) {
  std::vector<std::string> parts;
  for (size_t begin = 0;;) {
    const size_t end = text.find(separator, begin);
    parts.emplace_back(text.substr(begin, end == std::string_view::npos ? end : end - begin));
    if (end == std::string_view::npos) return parts;
    begin = end + separator.size();
  }
}

/// Node names of "[ONNX Layer: a | what the model says of it]" entries, whatever stands between the entries:
/// versions put different control characters there, or nothing.
std::vector<std::string> NodesInMetadata(std::string_view metadata) {
  std::vector<std::string> nodes = Split(metadata, "[ONNX Layer: ");
  nodes.erase(nodes.begin());
  for (std::string& node : nodes) {
    node.erase(std::min(node.rfind(']'), node.size()));
    node.erase(std::min(node.find(" | "), node.size()));
  }
  return nodes;
}

/// Myelin's kernels are named "a+b_myl0_7" after nodes, or "__myl_AddMul_myl0_7" after what they do.
constexpr std::string_view kMyelinKernel = "__myl_";

std::string WithoutKernelNumber(const std::string& name) {
  const size_t mark = name.rfind("_myl");
  if (mark == std::string::npos || mark + 4 == name.size()) return name;
  const bool numbers = std::all_of(name.begin() + static_cast<ptrdiff_t>(mark) + 4, name.end(), [](char c) {
    return c == '_' || std::isdigit(static_cast<unsigned char>(c)) != 0;
  });
  return numbers ? name.substr(0, mark) : name;
}

/// Takes "PWN(" off and the parentheses that close it: names may have some of their own.
std::string WithoutPointwise(std::string part) {
  constexpr std::string_view kPointwise = "PWN(";
  size_t begin = 0;
  while (part.compare(begin, kPointwise.size(), kPointwise) == 0) begin += kPointwise.size();
  part.erase(0, begin);
  auto excess = std::count(part.begin(), part.end(), ')') - std::count(part.begin(), part.end(), '(');
  for (; excess > 0 && part.ends_with(')'); --excess) part.pop_back();
  return part;
}

/// Node names in a layer's name, where there is no metadata: "a + b", "PWN(PWN(a), b)", "a+b_myl0_7".
std::vector<std::string> NodesInName(const std::string& name) {
  if (name.starts_with(kMyelinKernel)) return {};
  const std::string plain = WithoutKernelNumber(name);
  const bool pointwise = plain.find("PWN(") != std::string::npos;
  std::vector<std::string> nodes;
  for (const std::string& sum : Split(plain, plain == name ? " + " : "+")) {
    for (const std::string& part : pointwise ? Split(sum, ", ") : std::vector{sum}) {
      std::string node = pointwise ? WithoutPointwise(part) : part;
      if (!node.empty() && !IsOwnName(node)) nodes.push_back(std::move(node));
    }
  }
  return nodes;
}

/// "{ForeignNode[first...last]}" and whether it names all that it computes.
struct ForeignNode {
  std::vector<std::string> nodes;
  bool whole = false;
};

std::optional<ForeignNode> ForeignNodeIn(std::string_view name) {
  constexpr std::string_view kBegin = "{ForeignNode[", kEnd = "]}", kBetween = "...";
  if (!name.starts_with(kBegin) || !name.ends_with(kEnd)) return std::nullopt;
  name.remove_prefix(kBegin.size());
  name.remove_suffix(kEnd.size());
  const size_t between = name.find(kBetween);
  if (between == std::string_view::npos) return ForeignNode{NodesInName(std::string(name)), true};
  ForeignNode node{NodesInName(std::string(name.substr(0, between))), false};
  for (std::string& last : NodesInName(std::string(name.substr(between + kBetween.size()))))
    node.nodes.push_back(std::move(last));
  return node;
}

/// Whether a Myelin kernel only copies or converts, by the operations that its name lists: "__myl_MoveCast_".
bool IsCopyingKernel(std::string_view name) {
  if (!name.starts_with(kMyelinKernel)) return false;
  name.remove_prefix(kMyelinKernel.size());
  name = name.substr(0, name.find('_'));
  while (name.starts_with("Move") || name.starts_with("Cast")) name.remove_prefix(4);
  return name.empty();
}

void FindNodes(const std::string& metadata, EngineLayer* layer) {
  std::vector<std::string> nodes = NodesInMetadata(metadata);
  const std::optional<ForeignNode> foreign = ForeignNodeIn(layer->name);
  layer->region = foreign && !foreign->whole;
  // Layers that TensorRT puts in carry the metadata of their neighbours. A node of the model may be named
  // like one, and then it is the one that the metadata names.
  const bool own = IsOwnName(layer->name) && nodes != std::vector{layer->name};
  const bool copies = layer->type.empty() ? !layer->name.starts_with("(Unnamed Layer* ")
                                          : layer->type == "NoOp" || layer->type == "Shuffle";
  layer->moves = layer->type.ends_with("Reformat") || (own && copies) || IsCopyingKernel(layer->name);
  if (own) return;
  layer->nodes = !nodes.empty() ? std::move(nodes) : foreign ? foreign->nodes : NodesInName(layer->name);
}

StoredTensor ReadTensor(const JsonReader& json, EngineLayers* result) {
  StoredTensor tensor;
  tensor.name = json.String("Name");
  tensor.format = json.StringOr("Format/Datatype", json.StringOr("Format", ""));
  const std::string type = json.StringOr("Datatype", json.StringOr("DataType", tensor.format));
  tensor.dtype = TypeIn(type);
  if (type.starts_with("N/A")) result->shaped = false;
  if (!type.empty()) result->detailed = true;
  return tensor;
}

EngineLayer ReadLayer(const JsonReader& json, EngineLayers* result) {
  EngineLayer layer;
  layer.name = json.String("Name");
  layer.type = json.StringOr("LayerType", "");
  layer.tactic = json.StringOr("TacticName", "");
  json.ForEachElement("Inputs",
                      [&](const JsonReader& tensor) { layer.inputs.push_back(ReadTensor(tensor, result)); });
  json.ForEachElement("Outputs",
                      [&](const JsonReader& tensor) { layer.outputs.push_back(ReadTensor(tensor, result)); });
  FindNodes(json.StringOr("Metadata", ""), &layer);
  return layer;
}

/// A report lists its layer's tensors with every node.
void RequireFewPairs(const EngineLayers& layers, std::string_view where) {
  constexpr size_t kMostPairs = 10'000'000;
  size_t pairs = 0;
  for (const EngineLayer& layer : layers.layers)
    pairs += layer.nodes.size() * (layer.inputs.size() + layer.outputs.size());
  if (pairs > kMostPairs)
    throw BadInput(
        fmt::format("{}: layers have too many nodes and tensors at a time: {} pairs, expected at most {}",
                    where, pairs, kMostPairs));
}

}  // namespace

EngineLayers LayersFromJson(std::string_view text, std::string_view where) {
  // Versions put control characters between entries of metadata as they are, which JSON doesn't allow.
  std::string clean(text);
  std::replace_if(
      clean.begin(), clean.end(), [](char c) { return c >= '\x1c' && c <= '\x1f'; }, ' ');
  const nlohmann::json json = ParseJson(clean, where);
  const JsonReader root(json, std::string(where));
  root.RequireArray("Layers");
  EngineLayers result;
  const auto& layers = json["Layers"];
  if (std::any_of(layers.begin(), layers.end(), [](const auto& layer) { return layer.is_string(); })) {
    root.ForEachString("Layers", [&](const std::string& name) {
      EngineLayer& layer = result.layers.emplace_back();
      layer.name = name;
      FindNodes("", &layer);
    });
  } else {
    root.ForEachElement("Layers",
                        [&](const JsonReader& layer) { result.layers.push_back(ReadLayer(layer, &result)); });
  }
  root.ForEachString("Bindings", [&](const std::string& name) { result.bindings.push_back(name); });
  root.ForEachElement("I/O Tensors",
                      [&](const JsonReader& tensor) { result.bindings.push_back(tensor.String("Name")); });
  RequireFewPairs(result, where);
  return result;
}

}  // namespace halfsafe
