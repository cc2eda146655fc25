#pragma once

#include <onnxruntime_cxx_api.h>

#include <memory>
#include <vector>

#include "runtime/chain.h"
#include "runtime/tap.h"

namespace halfsafe {

/// Name of the operator that runs a chain, in kTapDomain; its attribute `chain` is an index.
inline constexpr char kChainOp[] = "Chain";

/// The operator, which keeps a copy of `chains`. `handler` must outlive it.
std::shared_ptr<OrtCustomOp> MakeChainOp(TapHandler* handler, std::vector<Chain> chains);

}  // namespace halfsafe
