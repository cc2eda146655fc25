#pragma once

#include <cstdint>
#include <vector>

#include "base/file.h"
#include "runtime/session.h"

namespace halfsafe {

/// Outputs of a model on one sample after the other, in a temporary file: memory stays bounded whatever their
/// size and number.
class OutputStore {
 public:
  /// Adds the outputs of the next sample. Throws Error(kBadInput) when the disk is full.
  void Add(const std::vector<OutputView>& outputs);
  /// Those of sample `index`, counted from 0 in the order in which they were added.
  std::vector<OutputValue> Read(uint64_t index) const;
  /// What all of them take.
  uint64_t bytes() const { return bytes_; }

 private:
  struct StoredTensor {
    DType dtype = DType::kUndefined;
    std::vector<int64_t> shape;
    uint64_t offset = 0;
    uint64_t size = 0;  ///< Bytes.
  };
  struct StoredOutput {
    bool sequence = false;
    std::vector<StoredTensor> tensors;
  };

  ScratchFile file_;
  uint64_t bytes_ = 0;
  std::vector<std::vector<StoredOutput>> samples_;
};

}  // namespace halfsafe
