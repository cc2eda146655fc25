#include "verify/output_store.h"

namespace halfsafe {

void OutputStore::Add(const std::vector<OutputView>& outputs) {
  auto& sample = samples_.emplace_back();
  for (const OutputView& output : outputs) {
    StoredOutput& stored = sample.emplace_back();
    stored.sequence = output.sequence;
    for (const TensorView& tensor : output.tensors) {
      const std::span bytes(static_cast<const std::byte*>(tensor.data), tensor.size);
      stored.tensors.push_back({tensor.dtype, tensor.shape, file_.Append(bytes), bytes.size()});
      bytes_ += bytes.size();
    }
  }
}

std::vector<OutputValue> OutputStore::Read(uint64_t index) const {
  std::vector<OutputValue> outputs;
  for (const StoredOutput& stored : samples_.at(index)) {
    OutputValue& output = outputs.emplace_back();
    output.sequence = stored.sequence;
    for (const StoredTensor& tensor : stored.tensors) {
      Array& array = output.tensors.emplace_back(Array{tensor.dtype, tensor.shape, {}});
      array.bytes.resize(tensor.size);
      file_.Read(tensor.offset, array.bytes);
    }
  }
  return outputs;
}

}  // namespace halfsafe
