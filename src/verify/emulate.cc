#include "verify/emulate.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>

#include "base/half_convert.h"
#include "halfsafe/error.h"
#include "halfsafe/half.h"
#include "halfsafe/rewrite.h"
#include "model/external_data.h"
#include "model/op_traits.h"
#include "model/walk.h"
#include "model/weight_conversion.h"
#include "model/widening.h"
#include "observe/observer.h"
#include "verify/draws.h"

namespace halfsafe {
namespace {

constexpr size_t kTask = 1 << 16;

std::shared_ptr<const float[]> WidenedValues(const SessionWeight& weight) {
  const auto values = std::make_shared_for_overwrite<float[]>(weight.bytes.size() / DTypeSize(weight.dtype));
  WidenValues(weight.bytes, weight.dtype, values.get());
  return values;
}

/// The same values as another model's weight of this name, if they are the same.
std::shared_ptr<const float[]> FindWidened(const SessionWeight& weight, const WidenedWeights& shared) {
  const auto found = shared.entries.find(weight.name);
  if (found == shared.entries.end()) return nullptr;
  const auto& bits = found->second.bits.bytes;
  const bool same = found->second.dtype == weight.dtype && bits.size() == weight.bytes.size() &&
                    std::memcmp(bits.data(), weight.bytes.data(), bits.size()) == 0;
  return same ? found->second.values : nullptr;
}

void WidenWeight(SessionWeight* weight, WidenedWeights* shared) {
  if (!IsSixteenBit(weight->dtype)) return;
  std::shared_ptr<const float[]> values;
  if (shared != nullptr) values = FindWidened(*weight, *shared);
  if (values == nullptr) {
    values = WidenedValues(*weight);
    if (shared != nullptr)
      shared->entries[weight->name] = {weight->dtype, {weight->bytes, weight->owner}, values};
  }
  weight->bytes = std::as_bytes(std::span(values.get(), weight->bytes.size() / sizeof(uint16_t)));
  weight->owner = values;
  weight->dtype = DType::kFloat;
}

bool NeedsRounding(const GraphIndex& index, const TensorInfo& tensor) {
  if (!tensor.is_tensor || !IsSixteenBit(tensor.dtype) || tensor.kind != TensorKind::kActivation)
    return false;
  const NodeInfo& node = index.node(tensor.producer);
  // What a body returns was rounded inside it.
  return node.bodies.empty() && TraitsOf(*node.proto).values == Values::kNew;
}

/// Whether the tensor can pass a tap of FP32 values.
bool IsVisible(const TensorInfo& tensor) {
  const bool emulated = tensor.dtype == DType::kFloat || IsSixteenBit(tensor.dtype);
  return tensor.is_tensor && emulated && tensor.kind == TensorKind::kActivation;
}

/// The model with every 16-bit type replaced by FP32, not yet rounding anything.
SessionModel WidenedModel(const Model& typed, WeightOptions options, WidenedWeights* shared) {
  options.adapt = [&](SessionWeight* weight) { WidenWeight(weight, shared); };
  SessionModel session = MakeSessionModel(typed, options);
  DeclareBodyShapes(typed.index(), &session.proto);  // With their types, which are then widened.
  WidenStatedTypes(session.proto.mutable_graph());
  ForEachMutableTensorConstant(session.proto.mutable_graph(), [&](onnx::TensorProto* tensor) {
    if (!IsSixteenBit(static_cast<DType>(tensor->data_type()))) return;
    if (IsExternal(*tensor)) {
      tensor->set_data_type(onnx::TensorProto::FLOAT);  // The session's weights hold its values.
    } else {
      WidenInside(ReadTensor(typed, *tensor), tensor);
    }
  });
  return session;
}

void InsertRounding(const GraphIndex& index, const Rounder& rounder, SessionModel* session) {
  std::vector<int64_t> ids(index.tensors().size(), -1);
  for (size_t id = 0; id < rounder.tensors.size(); ++id)
    ids[static_cast<size_t>(index.FindTensor(rounder.tensors[id].name))] = static_cast<int64_t>(id);
  InsertTaps(
      index, session, [&](int tensor) { return ids[static_cast<size_t>(tensor)]; },
      [](int) { return DType::kFloat; });
}

/// Gives a weight the values that it was rounded from, but where the plan clamps them: only rounding is
/// switched. `given` holds the rounded ones.
void Unround(const FloatView& unrounded, DType dtype, SessionWeight* given) {
  constexpr size_t kBlock = 4096;
  const auto round = dtype == DType::kFloat16 ? RoundValuesToHalf : RoundValuesToBfloat16;
  const auto* rounded = reinterpret_cast<const float*>(given->bytes.data());
  const std::span<const float> values = unrounded.values;
  std::array<float, kBlock> nearest{};
  std::shared_ptr<float[]>
      changed;  // Made when the first value is clamped: most weights are used as they are.
  for (size_t begin = 0; begin < values.size(); begin += kBlock) {
    const size_t size = std::min(kBlock, values.size() - begin);
    round(values.data() + begin, size, nearest.data());
    for (size_t i = 0; i < size; ++i) {
      if (nearest[i] == rounded[begin + i]) continue;
      if (changed == nullptr) {
        changed = std::make_shared_for_overwrite<float[]>(values.size());
        std::copy(values.begin(), values.end(), changed.get());
      }
      changed.get()[begin + i] = rounded[begin + i];
    }
  }
  const float* const result = changed != nullptr ? changed.get() : values.data();
  given->bytes = std::as_bytes(std::span(result, values.size()));
  given->owner = changed != nullptr ? std::shared_ptr<const void>(changed) : unrounded.owner;
}

/// Gives a weight its FP32 values back; false where the FP32 model's weight can't be told from the name.
bool UnroundWeight(const Model& unrounded, const GraphIndex& index, const TensorInfo& weight,
                   SessionModel* session) {
  int source = index.FindTensor(weight.name);
  if (source < 0) source = index.FindTensor(OriginalName(weight.name));
  if (source < 0 || index.tensor(source).data == nullptr || index.tensor(source).dtype != DType::kFloat)
    return false;
  for (SessionWeight& given : session->weights) {
    if (given.name != weight.local) continue;
    Unround(ViewFloats(unrounded, *index.tensor(source).data), weight.dtype, &given);
    return true;
  }
  return false;
}

}  // namespace

void Rounder::Process(const Tap& tap) {
  Round(tap);
  if (observer == nullptr || draw_ != 0) return;
  Tap stored = tap;
  stored.input = tap.output;
  observer->Process(stored);
}

void Rounder::Round(const Tap& tap) {
  RoundedTensor& tensor = tensors[static_cast<size_t>(tap.id)];
  tensor.elements = tap.count;
  const bool off = !enabled.empty() && !enabled[static_cast<size_t>(tap.id)];
  if (off || tensor.dtype == DType::kFloat) {
    if (tap.output != tap.input) std::memcpy(tap.output, tap.input, tap.count * sizeof(float));
    return;
  }
  const auto* input = static_cast<const float*>(tap.input);
  auto* output = static_cast<float*>(tap.output);
  std::atomic<bool> finite{true};
  const bool dithered = draw_ > 0 && !tensor.weight;
  const uint32_t stream = dithered ? DitherStream(seed, draw_, tap.id) : 0;
  const auto round = [&](size_t task) {
    const size_t begin = task * kTask;
    const size_t size = std::min(kTask, tap.count - begin);
    if (dithered) Dither(input + begin, begin, size, tensor.dtype, stream, output + begin);
    const float* values = dithered ? output + begin : input + begin;
    const bool good = tensor.dtype == DType::kFloat16 ? RoundValuesToHalf(values, size, output + begin)
                                                      : RoundValuesToBfloat16(values, size, output + begin);
    if (!good) finite = false;
  };
  const size_t tasks = (tap.count + kTask - 1) / kTask;
  if (tasks > 1) {
    tap.parallel(tasks, round);
  } else if (tasks == 1) {
    round(0);
  }
  if (finite || (!tensor.inf_sample.empty() && !tensor.nan_sample.empty())) return;
  const auto is_nan = [](float value) { return std::isnan(value); };
  const auto is_inf = [](float value) { return std::isinf(value); };
  if (tensor.inf_sample.empty() && std::any_of(output, output + tap.count, is_inf))
    tensor.inf_sample = sample_;
  if (tensor.nan_sample.empty() && std::any_of(output, output + tap.count, is_nan))
    tensor.nan_sample = sample_;
}

SessionModel EmulateHalf(const Model& typed, Rounder* rounder, WidenedWeights* shared, Feed feed,
                         bool all_floats) {
  const GraphIndex& index = typed.index();
  for (const TensorInfo& tensor : index.tensors()) {
    const bool rounded = NeedsRounding(index, tensor);
    if (rounded || (all_floats && IsVisible(tensor)))
      rounder->tensors.push_back({tensor.name, rounded ? tensor.dtype : DType::kFloat, "", "", 0, false});
  }
  WeightOptions weights;
  weights.feed = feed;
  SessionModel session = WidenedModel(typed, weights, shared);
  InsertRounding(index, *rounder, &session);
  return session;
}

SessionModel EmulateHalfSwitchable(const Model& unrounded, const Model& typed, Rounder* rounder, Feed feed) {
  const GraphIndex& index = typed.index();
  const GraphIndex& unrounded_index = unrounded.index();
  // Every 16-bit constant becomes a weight of the session, however small: epsilons and biases may matter
  // most.
  WeightOptions weights;
  weights.large_16_bit = 0;
  weights.feed = feed;
  SessionModel session = WidenedModel(typed, weights, nullptr);
  for (const TensorInfo& tensor : index.tensors()) {
    const bool weight = tensor.kind == TensorKind::kConstant && tensor.graph == 0 && tensor.data != nullptr &&
                        IsSixteenBit(tensor.dtype);
    if (!weight && !NeedsRounding(index, tensor)) continue;
    if (weight && !UnroundWeight(unrounded, unrounded_index, tensor, &session)) continue;
    rounder->tensors.push_back({tensor.name, tensor.dtype, "", "", 0, weight});
  }
  InsertRounding(index, *rounder, &session);
  return session;
}

Sample EmulatedInputs(const Sample& sample, const std::vector<InputSpec>& inputs) {
  Sample result;
  result.name = sample.name;
  for (const NamedArray& given : sample.inputs) {
    NamedArray input = given;
    const auto spec =
        std::find_if(inputs.begin(), inputs.end(), [&](const InputSpec& s) { return s.name == given.name; });
    if (spec == inputs.end()) throw BadInput(fmt::format("the fixed model has no input {}", given.name));
    const bool sixteen_bit = IsSixteenBit(given.array.dtype) || IsSixteenBit(spec->dtype);
    if (sixteen_bit && IsFloat(given.array.dtype)) {
      std::vector<float> values(given.array.bytes.size() / DTypeSize(given.array.dtype));
      for (size_t i = 0; i < values.size(); ++i) {
        const std::byte* at = given.array.bytes.data() + i * DTypeSize(given.array.dtype);
        uint16_t bits = 0;
        std::memcpy(&bits, at, sizeof(bits));
        if (given.array.dtype == DType::kFloat) std::memcpy(&values[i], at, sizeof(float));
        if (given.array.dtype == DType::kFloat16) values[i] = HalfValue(bits);
        if (given.array.dtype == DType::kBfloat16) values[i] = Bfloat16Value(bits);
      }
      if (spec->dtype == DType::kFloat16) RoundValuesToHalf(values.data(), values.size(), values.data());
      if (spec->dtype == DType::kBfloat16) RoundValuesToBfloat16(values.data(), values.size(), values.data());
      const auto bytes = std::as_bytes(std::span(values));
      input.array.dtype = DType::kFloat;
      input.array.bytes.assign(bytes.begin(), bytes.end());
    }
    result.inputs.push_back(std::move(input));
  }
  return result;
}

}  // namespace halfsafe
