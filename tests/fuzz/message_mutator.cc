#include "fuzz/message_mutator.h"

#include <google/protobuf/descriptor.h>
#include <onnx/onnx_pb.h>

#include <limits>
#include <memory>
#include <random>
#include <set>
#include <vector>

#include "fuzz/targets.h"

namespace halfsafe::fuzz {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;

/// Names that decide what becomes of a node, an attribute, an entry. Names of the model itself come on top.
constexpr const char* kWords[] = {
    "",
    "value",
    "axis",
    "axes",
    "perm",
    "to",
    "alpha",
    "then_branch",
    "else_branch",
    "body",
    "num_scan_inputs",
    "keepdims",
    "epsilon",
    "ai.onnx",
    "ai.onnx.ml",
    "com.microsoft",
    "location",
    "offset",
    "length",
    "weights",
    "../weights",
    "/dev/zero",
    "0",
    "18446744073709551615",
    "sparse_value",
    "halfsafe.exponent",
    "equation",
    "ij,jk->ik",
    "Add",
    "Mul",
    "MatMul",
    "Gemm",
    "Conv",
    "Constant",
    "Identity",
    "Reshape",
    "Cast",
    "Softmax",
    "If",
    "Loop",
    "Scan",
    "Sqrt",
    "Div",
    "Pow",
    "Exp",
    "ReduceMean",
    "LayerNormalization",
    "BatchNormalization",
    "Clip",
    "Where",
    "Concat",
    "Split",
    "Transpose",
    "Shape",
    "Gather",
    "Slice",
    "ConstantOfShape",
    "LSTM",
    "Resize",
    "QuantizeLinear",
    "DequantizeLinear",
    "SequenceConstruct",
    "Optional",
    "Expand",
    "Unsqueeze",
};

constexpr int64_t kIntegers[] = {0,
                                 1,
                                 -1,
                                 2,
                                 3,
                                 4,
                                 7,
                                 8,
                                 10,
                                 11,
                                 13,
                                 16,
                                 17,
                                 18,
                                 21,
                                 22,
                                 64,
                                 127,
                                 255,
                                 256,
                                 512,
                                 1000,
                                 65535,
                                 2147483647,
                                 -2147483648LL,
                                 std::numeric_limits<int64_t>::max(),
                                 std::numeric_limits<int64_t>::min(),
                                 int64_t{1} << 60,
                                 int64_t{1} << 32};

constexpr double kReals[] = {0.0,
                             -0.0,
                             1.0,
                             -1.0,
                             0.5,
                             1e-5,
                             1e-45,
                             6e-8,
                             65504.0,
                             65520.0,
                             1e9,
                             3.4e38,
                             -3.4e38,
                             1e300,
                             std::numeric_limits<double>::infinity(),
                             std::numeric_limits<double>::quiet_NaN()};

class Mutator {
 public:
  explicit Mutator(unsigned seed) : random_(seed) {}

  void Change(Message* message) {
    Collect(message);
    // Fields near the root are as likely to be changed as all that lie deep.
    Message* part = messages_[Below(messages_.size())];
    const auto* descriptor = part->GetDescriptor();
    if (descriptor->field_count() == 0) return;
    const FieldDescriptor* field = descriptor->field(Below(descriptor->field_count()));
    if (field->is_repeated()) {
      ChangeList(part, field);
    } else {
      ChangeSingle(part, field);
    }
  }

  /// Puts a part of `from` into `into`: over one of the same kind, or at the end of a list of such.
  void Cross(Message* into, Message* from) {
    Collect(from);
    const Message* part = messages_[Below(messages_.size())];
    messages_.clear();
    Collect(into);
    std::vector<std::pair<Message*, const FieldDescriptor*>> places;
    for (Message* message : messages_) {
      const auto* descriptor = message->GetDescriptor();
      for (int i = 0; i < descriptor->field_count(); ++i) {
        if (descriptor->field(i)->message_type() == part->GetDescriptor())
          places.emplace_back(message, descriptor->field(i));
      }
    }
    if (places.empty()) return;
    const auto& [message, field] = places[Below(places.size())];
    const Reflection* reflection = message->GetReflection();
    const std::unique_ptr<Message> copy(part->New());
    copy->CopyFrom(*part);
    if (field->is_repeated()) {
      reflection->AddMessage(message, field)->CopyFrom(*copy);
    } else {
      reflection->MutableMessage(message, field)->CopyFrom(*copy);
    }
  }

 private:
  template <typename Size>
  Size Below(Size bound) {
    return static_cast<Size>(random_() % static_cast<size_t>(bound));
  }

  void Collect(Message* message) {
    messages_.push_back(message);
    const Reflection* reflection = message->GetReflection();
    std::vector<const FieldDescriptor*> fields;
    reflection->ListFields(*message, &fields);
    for (const FieldDescriptor* field : fields) {
      const bool text = field->cpp_type() == FieldDescriptor::CPPTYPE_STRING;
      if (text && !field->is_repeated()) Remember(reflection->GetString(*message, field));
      for (int i = 0; text && field->is_repeated() && i < reflection->FieldSize(*message, field); ++i)
        Remember(reflection->GetRepeatedString(*message, field, i));
      if (field->cpp_type() != FieldDescriptor::CPPTYPE_MESSAGE) continue;
      if (!field->is_repeated()) {
        Collect(reflection->MutableMessage(message, field));
        continue;
      }
      for (int i = 0; i < reflection->FieldSize(*message, field); ++i)
        Collect(reflection->MutableRepeatedMessage(message, field, i));
    }
  }

  void Remember(const std::string& name) {
    constexpr size_t kLongest = 64;
    if (name.size() <= kLongest) names_.insert(name);
  }

  std::string Text(const std::string& old) {
    switch (Below(8)) {
      case 0:
        return kWords[Below(std::size(kWords))];
      case 1: {
        std::string changed = old;
        for (int left = 1 + Below(4); left > 0; --left)
          changed.insert(Below(changed.size() + 1), 1, static_cast<char>(random_()));
        return changed;
      }
      case 2:
        return old.substr(0, Below(old.size() + 1));
      default: {
        if (names_.empty()) return "";
        auto name = names_.begin();
        std::advance(name, Below(names_.size()));
        return *name;
      }
    }
  }

  int64_t Integer(int64_t old) {
    switch (Below(4)) {
      case 0:
        return static_cast<int64_t>(static_cast<uint64_t>(old) + 1);
      case 1:
        return static_cast<int64_t>(static_cast<uint64_t>(old) - 1);
      case 2:
        return static_cast<int64_t>(random_() % 20);
      default:
        return kIntegers[Below(std::size(kIntegers))];
    }
  }

  double Real(double old) {
    constexpr uint32_t kSteps = 64;
    return Below(3) == 0 ? old * static_cast<double>(random_() % kSteps) : kReals[Below(std::size(kReals))];
  }

  void ChangeSingle(Message* message, const FieldDescriptor* field) {
    const Reflection* reflection = message->GetReflection();
    if (reflection->HasField(*message, field) && Below(4) == 0) {
      reflection->ClearField(message, field);
      return;
    }
    switch (field->cpp_type()) {
      case FieldDescriptor::CPPTYPE_STRING:
        reflection->SetString(message, field, Text(reflection->GetString(*message, field)));
        break;
      case FieldDescriptor::CPPTYPE_INT64:
        reflection->SetInt64(message, field, Integer(reflection->GetInt64(*message, field)));
        break;
      case FieldDescriptor::CPPTYPE_INT32:
        reflection->SetInt32(message, field,
                             static_cast<int32_t>(Integer(reflection->GetInt32(*message, field))));
        break;
      case FieldDescriptor::CPPTYPE_ENUM:
        reflection->SetEnumValue(message, field, static_cast<int>(random_() % 30));
        break;
      case FieldDescriptor::CPPTYPE_FLOAT:
        reflection->SetFloat(message, field, ToFloat(Real(reflection->GetFloat(*message, field))));
        break;
      case FieldDescriptor::CPPTYPE_MESSAGE:
        reflection->MutableMessage(message, field);
        break;
      default:
        break;
    }
  }

  void ChangeList(Message* message, const FieldDescriptor* field) {
    const Reflection* reflection = message->GetReflection();
    const int size = reflection->FieldSize(*message, field);
    const int which = size == 0 ? 0 : Below(size);
    const unsigned action = size == 0 ? 0 : Below(4U);
    if (action == 1) {
      reflection->SwapElements(message, field, which, size - 1);
      reflection->RemoveLast(message, field);
      return;
    }
    if (action == 2) {
      reflection->SwapElements(message, field, which, Below(size));
      return;
    }
    switch (field->cpp_type()) {
      case FieldDescriptor::CPPTYPE_STRING:
        if (action == 0) {
          reflection->AddString(message, field, Text(""));
        } else {
          reflection->SetRepeatedString(message, field, which,
                                        Text(reflection->GetRepeatedString(*message, field, which)));
        }
        break;
      case FieldDescriptor::CPPTYPE_INT64:
        if (action == 0) {
          reflection->AddInt64(message, field, Integer(0));
        } else {
          reflection->SetRepeatedInt64(message, field, which,
                                       Integer(reflection->GetRepeatedInt64(*message, field, which)));
        }
        break;
      case FieldDescriptor::CPPTYPE_INT32:
        reflection->AddInt32(message, field, static_cast<int32_t>(Integer(0)));
        break;
      case FieldDescriptor::CPPTYPE_UINT64:
        reflection->AddUInt64(message, field, static_cast<uint64_t>(Integer(0)));
        break;
      case FieldDescriptor::CPPTYPE_FLOAT:
        reflection->AddFloat(message, field, ToFloat(Real(1.0)));
        break;
      case FieldDescriptor::CPPTYPE_DOUBLE:
        reflection->AddDouble(message, field, Real(1.0));
        break;
      case FieldDescriptor::CPPTYPE_MESSAGE: {
        Message* added = reflection->AddMessage(message, field);
        // A copy of another element is closer to what passes than an empty one.
        if (size > 0 && action != 3) added->CopyFrom(reflection->GetRepeatedMessage(*message, field, which));
        break;
      }
      default:
        break;
    }
  }

  /// Past the largest FP32 number a conversion would be undefined.
  static float ToFloat(double value) {
    if (std::abs(value) <= std::numeric_limits<float>::max() || value != value)
      return static_cast<float>(value);
    return std::numeric_limits<float>::infinity();
  }

  std::mt19937 random_;
  std::vector<Message*> messages_;
  std::set<std::string> names_;
};

std::unique_ptr<Message> Parsed(const Message& prototype, std::span<const uint8_t> bytes) {
  std::unique_ptr<Message> message(prototype.New());
  if (!message->ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) return nullptr;
  return message;
}

std::string Serialized(const Message& message, size_t max_size) {
  std::string text;
  if (message.ByteSizeLong() > max_size || !message.SerializeToString(&text)) return {};
  return text;
}

}  // namespace

const Message* MessageOf(std::string_view target) {
  if (TakesModel(target)) return &onnx::ModelProto::default_instance();
  if (TakesTensor(target)) return &onnx::TensorProto::default_instance();
  return nullptr;
}

std::string MutateMessage(const Message& prototype, std::span<const uint8_t> bytes, size_t max_size,
                          unsigned seed) {
  const auto message = Parsed(prototype, bytes);
  if (message == nullptr) return {};
  const unsigned changes = 1 + seed / 16 % 3;
  for (unsigned i = 0; i < changes; ++i) Mutator(seed + i).Change(message.get());
  return Serialized(*message, max_size);
}

std::string CrossMessages(const Message& prototype, std::span<const uint8_t> first,
                          std::span<const uint8_t> second, size_t max_size, unsigned seed) {
  const auto into = Parsed(prototype, first);
  const auto from = Parsed(prototype, second);
  if (into == nullptr || from == nullptr) return {};
  Mutator(seed).Cross(into.get(), from.get());
  return Serialized(*into, max_size);
}

}  // namespace halfsafe::fuzz
