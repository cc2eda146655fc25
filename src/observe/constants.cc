#include "observe/constants.h"

#include <algorithm>
#include <atomic>
#include <thread>

#include "base/cores.h"
#include "halfsafe/half.h"
#include "model/walk.h"
#include "observe/observer.h"

namespace halfsafe {
namespace {

TensorStats StatsOfConstant(const Model& model, const TensorInfo& tensor) {
  const TensorBytes held = model.RawBytes(*tensor.data);
  const auto raw = held.bytes;
  BlockStats block;
  if (!raw.empty() && reinterpret_cast<uintptr_t>(raw.data()) % alignof(double) == 0 &&
      raw.size() == TensorByteSize(*tensor.data)) {
    block = StatsOf(tensor.dtype, raw.data(), raw.size() / DTypeSize(tensor.dtype), nullptr);
  } else {
    const Array array = ReadTensor(model, *tensor.data);
    block = StatsOf(array.dtype, array.bytes.data(), array.bytes.size() / DTypeSize(array.dtype), nullptr);
  }
  TensorStats stats = ToTensorStats(block);
  stats.name = tensor.name;
  stats.dtype = tensor.dtype;
  stats.constant = true;
  return stats;
}

/// Constant nodes may hold a plain float or a list of them in place of a tensor.
bool StatsOfFloatAttribute(const GraphIndex& index, const TensorInfo& tensor, TensorStats* stats) {
  if (tensor.producer < 0) return false;
  const onnx::NodeProto& node = *index.node(tensor.producer).proto;
  std::vector<float> values;
  if (const auto* value = FindAttribute(node, "value_float")) values.push_back(value->f());
  if (const auto* list = FindAttribute(node, "value_floats"))
    values.assign(list->floats().begin(), list->floats().end());
  if (values.empty()) return false;
  BlockStats block;
  AddValues(values.data(), values.size(), &block);
  *stats = ToTensorStats(block);
  stats->name = tensor.name;
  stats->constant = true;
  return true;
}

}  // namespace

std::vector<TensorStats> ConstantStats(const Model& model, const GraphIndex& index) {
  std::vector<const TensorInfo*> constants;
  for (const TensorInfo& tensor : index.tensors()) {
    if (tensor.kind == TensorKind::kConstant && IsFloat(tensor.dtype)) constants.push_back(&tensor);
  }
  std::vector<TensorStats> all(constants.size());
  std::atomic<size_t> next{0};
  std::exception_ptr failure;
  std::atomic<bool> failed{false};
  const auto work = [&] {
    for (size_t i = next++; i < constants.size() && !failed; i = next++) {
      try {
        if (constants[i]->data != nullptr) {
          all[i] = StatsOfConstant(model, *constants[i]);
        } else if (!StatsOfFloatAttribute(index, *constants[i], &all[i])) {
          all[i].name.clear();
        }
      } catch (...) {
        if (!failed.exchange(true)) failure = std::current_exception();
      }
    }
  };
  {
    std::vector<std::jthread> threads;
    const size_t extra = std::min<size_t>(UsableCores(), constants.size() / 64 + 1);
    for (size_t i = 1; i < extra; ++i) threads.emplace_back(work);
    work();
  }
  if (failure) std::rethrow_exception(failure);
  std::erase_if(all, [](const TensorStats& stats) { return stats.name.empty(); });
  return all;
}

}  // namespace halfsafe
