#include "verify/stored_ranges.h"

#include "observe/constants.h"

namespace halfsafe {

StoredRanges::StoredRanges(const Model& typed, Rounder* rounder) : model_(typed) {
  for (const RoundedTensor& tensor : rounder->tensors) slots_[tensor.name] = observer_.AddSlot();
  for (const TensorInfo& tensor : typed.index().tensors()) {
    const bool input = tensor.graph == 0 && tensor.kind == TensorKind::kInput;
    if (input && tensor.is_tensor && IsFloat(tensor.dtype)) slots_[tensor.name] = observer_.AddSlot();
  }
  rounder->observer = &observer_;
}

void StoredRanges::BeginSample(const Sample& sample) {
  observer_.BeginSample(sample.name);
  for (const NamedArray& input : sample.inputs) {
    if (const auto slot = slots_.find(input.name); slot != slots_.end())
      observer_.Add(slot->second, input.array);
  }
}

void StoredRanges::EndSample() {
  observer_.EndSample();
  ++samples_;
}

RangeTable StoredRanges::Table() const {
  const GraphIndex& index = model_.index();
  std::unordered_map<std::string, TensorStats> constants;
  for (TensorStats& stats : ConstantStats(model_, index)) {
    std::string name = stats.name;
    constants.emplace(std::move(name), std::move(stats));
  }
  RangeTable table;
  table.model_sha256 = model_.sha256();
  table.samples = samples_;
  for (const TensorInfo& tensor : index.tensors()) {
    if (const auto constant = constants.find(tensor.name); constant != constants.end()) {
      table.tensors.push_back(constant->second);
    } else if (const auto slot = slots_.find(tensor.name); slot != slots_.end()) {
      table.tensors.push_back(observer_.Result(slot->second));
    } else {
      continue;
    }
    table.tensors.back().name = tensor.name;
    table.tensors.back().dtype = tensor.dtype;
  }
  return table;
}

}  // namespace halfsafe
