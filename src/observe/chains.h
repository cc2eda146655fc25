#pragma once

#include <functional>
#include <vector>

#include "model/graph_index.h"
#include "runtime/session.h"

namespace halfsafe {

/// What a scan wants of the tensors that a chain computes.
struct ChainNeeds {
  std::function<int64_t(int tensor)> id_of;   ///< Under which a chain observes it; -1 for not at all.
  std::function<bool(int tensor)> is_needed;  ///< By more than its readers: it must go to memory.
};

/// Replaces the element-wise operators of the main graph by chains, wherever one reads another or something
/// that a chain can observe for it. Returns, per tensor, whether a chain observes it.
std::vector<bool> InsertChains(const Model& model, const GraphIndex& index, const ChainNeeds& needs,
                               SessionModel* session);

}  // namespace halfsafe
