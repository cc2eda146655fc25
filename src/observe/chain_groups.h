#pragma once

#include <vector>

#include "model/graph_index.h"
#include "model/op_traits.h"

namespace halfsafe {

/// Groups of nodes of the main graph that can run as one each, in graph order; nodes are in graph order too.
/// Nothing outside of a group lies on a path between two of its nodes, and there is no cycle among groups.
/// `fits` says which nodes may belong to a group.
std::vector<std::vector<int>> GroupNodes(const GraphIndex& index, const std::vector<bool>& fits);

}  // namespace halfsafe
