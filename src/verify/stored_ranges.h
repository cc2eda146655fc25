#pragma once

#include <string>
#include <unordered_map>

#include "observe/observer.h"
#include "verify/emulate.h"

namespace halfsafe {

/// What the float tensors of a model do under emulation, as they are stored: after rounding.
class StoredRanges {
 public:
  /// Watches the tensors of `rounder`, which EmulateHalf has filled with all floats of `typed`. Both must
  /// outlive it.
  StoredRanges(const Model& typed, Rounder* rounder);

  /// A run begins with these inputs, as the emulation takes them.
  void BeginSample(const Sample& sample);
  /// It has ended well: what it showed counts.
  void EndSample();

  /// In graph order, weights too; partial sums are not bounded.
  RangeTable Table() const;

 private:
  const Model& model_;
  Observer observer_;
  std::unordered_map<std::string, int64_t> slots_;  ///< By the tensor's name: results and inputs.
  uint64_t samples_ = 0;
};

}  // namespace halfsafe
