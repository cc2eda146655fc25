#pragma once

#include <functional>
#include <string>
#include <vector>

#include "halfsafe/model.h"
#include "model/graph_index.h"
#include "observe/observer.h"
#include "runtime/session.h"

namespace halfsafe {

/// Where each tensor's statistics come from.
struct Slots {
  std::vector<int64_t> slot;  ///< Per tensor: its slot in the observer, or -1.
  std::vector<int> same_as;   ///< Per tensor: the tensor that holds the same values, or -1.
  std::vector<bool> by_rows;  ///< Per tensor: its rows are looked at too, for which a tap must see it whole.
};

/// A slot of `observer` for every float tensor that a run computes or is given.
Slots ChooseSlots(const GraphIndex& index, const Model& model, Observer* observer);

/// Chains where the model runs optimized, and taps for everything else that a slot observes; graph inputs are
/// read from the samples instead. `saved` says which tensors the run has to give out; `feed`: see
/// WeightOptions.
SessionModel ObservedModel(const Model& model, const GraphIndex& index, const Slots& slots, bool chains,
                           Feed feed, const std::function<bool(const std::string&)>& saved);

}  // namespace halfsafe
