#include "runtime/session_cache.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "halfsafe/error.h"

namespace halfsafe {
namespace {

std::string ShapeKey(const Sample& sample) {
  std::map<std::string, std::string> shapes;
  for (const NamedArray& input : sample.inputs) {
    if (!input.sequence) shapes[input.name] = fmt::format("{}", fmt::join(input.array.shape, "x"));
  }
  std::string key;
  for (const auto& [name, shape] : shapes) key += name + ":" + shape + ";";
  return key;
}

}  // namespace

SessionCache::SessionCache(const SessionModel& model, SessionOptions options, bool fixed_first)
    : model_(model), options_(std::move(options)), fixed_(fixed_first) {}

Session& SessionCache::For(const Sample& sample) {
  if (session_ != nullptr && !fixed_) return *session_;
  std::string shapes = ShapeKey(sample);
  if (session_ == nullptr && fixed_) {
    MakeFor(sample);
    shapes_ = shapes;
  }
  if (session_ == nullptr || shapes != shapes_) {
    fixed_ = false;
    session_.reset();  // Before there is another.
    session_ = std::make_unique<Session>(model_, options_);
  }
  return *session_;
}

void SessionCache::MakeFor(const Sample& sample) {
  SessionModel fixed = model_;
  for (auto& input : *fixed.proto.mutable_graph()->mutable_input()) {
    for (const NamedArray& given : sample.inputs) {
      if (given.name != input.name() || !input.type().has_tensor_type()) continue;
      auto* shape = input.mutable_type()->mutable_tensor_type()->mutable_shape();
      shape->clear_dim();
      for (const int64_t dim : given.array.shape) shape->add_dim()->set_dim_value(dim);
    }
  }
  // Shapes that the file states for a free batch would contradict the fixed ones, where exporters wrote them
  // wrong. Scalars have none.
  auto* values = fixed.proto.mutable_graph()->mutable_value_info();
  values->erase(std::remove_if(values->begin(), values->end(),
                               [](const onnx::ValueInfoProto& value) {
                                 const auto& type = value.type().tensor_type();
                                 return !type.has_shape() || type.shape().dim_size() > 0;
                               }),
                values->end());
  for (auto& output : *fixed.proto.mutable_graph()->mutable_output()) {
    onnx::TypeProto* type = output.mutable_type();
    if (type->has_sequence_type()) type = type->mutable_sequence_type()->mutable_elem_type();
    if (type->has_tensor_type()) type->mutable_tensor_type()->clear_shape();
  }
  try {
    session_ = std::make_unique<Session>(fixed, options_);
  } catch (const Error& error) {
    // A branch that these shapes never take needn't fit them, but ONNX Runtime infers shapes in it too.
    if (error.code() != ExitCode::kBadInput) throw;
  }
}

bool SameShapes(const SampleSource& source) {
  if (source.size() < 2) return true;
  try {
    return ShapeKey(source.Read(0)) == ShapeKey(source.Read(1));
  } catch (const Error& error) {
    if (error.code() != ExitCode::kBadInput) throw;
    return false;  // For whoever needs the sample to report.
  }
}

}  // namespace halfsafe
