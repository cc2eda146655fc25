#include "model/runtime_schemas.h"

#include <onnx/defs/data_type_utils.h>

#include <algorithm>
#include <map>
#include <memory>
#include <sstream>
#include <string_view>
#include <utility>
#include <vector>

namespace halfsafe {
namespace {

/// One row of the table. Types of inputs and outputs stand in the order of their slots, by name or by a
/// variable that `types` says the choices of ("T=float,float16;M=int32"); "?" marks those that may be absent,
/// "*" any number.
struct Row {
  const char* domain;
  const char* op;
  int since;
  const char* inputs;
  const char* outputs;
  const char* types;
};

constexpr Row kRows[] = {
#include "model/runtime_schemas.inc"
};

std::vector<std::string> Split(const std::string& text, char separator) {
  std::vector<std::string> parts;
  std::istringstream stream(text);
  for (std::string part; std::getline(stream, part, separator);) parts.push_back(part);
  return parts;
}

/// As ONNX spells it: the table leaves "tensor(...)" out.
std::string LongType(const std::string& type) {
  return type.find('(') == std::string::npos ? "tensor(" + type + ")" : type;
}

/// The type of a parameter of this kind; kUndefined where it depends on what is given.
int OnlyType(const onnx::OpSchema& schema, const std::string& type) {
  const auto variable = schema.typeConstraintMap().find(type);
  if (variable == schema.typeConstraintMap().end())
    return onnx::Utils::DataTypeUtils::ToTypeProto(onnx::Utils::DataTypeUtils::ToType(type))
        .tensor_type()
        .elem_type();
  const auto& allowed = variable->second.first;
  if (allowed.size() != 1) return onnx::TensorProto::UNDEFINED;
  return onnx::Utils::DataTypeUtils::ToTypeProto(*allowed.begin()).tensor_type().elem_type();
}

/// Of a parameter list whose last one may stand for many.
const onnx::OpSchema::FormalParameter& ParameterAt(
    const std::vector<onnx::OpSchema::FormalParameter>& parameters, size_t slot) {
  return parameters[std::min(slot, parameters.size() - 1)];
}

/// The type of the first input that is of the variable `type`.
int TypeOfInput(const onnx::OpSchema& schema, const std::string& type,
                const onnx::InferenceContext& context) {
  for (size_t slot = 0; slot < context.getNumInputs() && !schema.inputs().empty(); ++slot) {
    if (ParameterAt(schema.inputs(), slot).GetTypeStr() != type) continue;
    const onnx::TypeProto* found = context.getInputType(slot);
    if (found != nullptr && found->tensor_type().elem_type() != onnx::TensorProto::UNDEFINED)
      return found->tensor_type().elem_type();
  }
  return onnx::TensorProto::UNDEFINED;
}

void InferElementTypes(const onnx::OpSchema& schema, onnx::InferenceContext& context) {
  if (schema.outputs().empty()) return;
  for (size_t slot = 0; slot < context.getNumOutputs(); ++slot) {
    const std::string& type = ParameterAt(schema.outputs(), slot).GetTypeStr();
    int found = OnlyType(schema, type);
    if (found == onnx::TensorProto::UNDEFINED) found = TypeOfInput(schema, type, context);
    if (found != onnx::TensorProto::UNDEFINED)
      context.getOutputType(slot)->mutable_tensor_type()->set_elem_type(found);
  }
}

void AddParameters(const std::string& types, bool inputs, const std::vector<std::string>& variables,
                   onnx::OpSchema* schema) {
  int slot = 0;
  for (std::string type : Split(types, ' ')) {
    auto option = onnx::OpSchema::Single;
    if (type.back() == '?') option = onnx::OpSchema::Optional;
    if (type.back() == '*') option = onnx::OpSchema::Variadic;
    if (option != onnx::OpSchema::Single) type.pop_back();
    if (std::ranges::find(variables, type) == variables.end()) type = LongType(type);
    const std::string name = std::to_string(slot);
    if (inputs) {
      schema->Input(slot++, name, "", type, option);
    } else {
      schema->Output(slot++, name, "", type, option);
    }
  }
}

std::unique_ptr<const onnx::OpSchema> MakeSchema(const Row& row) {
  auto schema = std::make_unique<onnx::OpSchema>(row.op, __FILE__, __LINE__);
  schema->SetDomain(row.domain).SinceVersion(row.since);
  std::vector<std::string> variables;
  for (const std::string& constraint : Split(row.types, ';')) {
    const size_t equals = constraint.find('=');
    variables.push_back(constraint.substr(0, equals));
    std::vector<std::string> allowed = Split(constraint.substr(equals + 1), ',');
    for (std::string& type : allowed) type = LongType(type);
    schema->TypeConstraint(variables.back(), allowed, "");
  }
  AddParameters(row.inputs, true, variables, schema.get());
  AddParameters(row.outputs, false, variables, schema.get());
  schema->TypeAndShapeInferenceFunction(
      [self = schema.get()](onnx::InferenceContext& context) { InferElementTypes(*self, context); });
  schema->Finalize();
  return schema;
}

using Schemas = std::multimap<std::pair<std::string, std::string>, std::unique_ptr<const onnx::OpSchema>>;

Schemas MakeSchemas() {
  Schemas schemas;
  for (const Row& row : kRows) schemas.emplace(std::pair(row.domain, row.op), MakeSchema(row));
  return schemas;
}

}  // namespace

const onnx::OpSchema* RuntimeSchema(const std::string& op, int opset, const std::string& domain) {
  static const Schemas schemas = MakeSchemas();
  const onnx::OpSchema* found = nullptr;
  const auto [begin, end] = schemas.equal_range({domain, op});
  for (auto entry = begin; entry != end; ++entry) {
    const int since = entry->second->SinceVersion();
    if (since <= opset && (found == nullptr || since > found->SinceVersion())) found = entry->second.get();
  }
  return found;
}

const onnx::OpSchema* OnnxSchema(const std::string& op, int opset, const std::string& domain) {
  const onnx::OpSchema* schema = onnx::OpSchemaRegistry::Schema(op, opset, domain);
  if (schema != nullptr || RuntimeSchema(op, opset, domain) == nullptr) return schema;
  const auto& ranges = onnx::OpSchemaRegistry::DomainToVersionRange::Instance().Map();
  const auto range = ranges.find(domain);
  const int last = range == ranges.end() ? opset : range->second.second;
  for (int later = opset + 1; schema == nullptr && later <= last; ++later)
    schema = onnx::OpSchemaRegistry::Schema(op, later, domain);
  return schema;
}

}  // namespace halfsafe
