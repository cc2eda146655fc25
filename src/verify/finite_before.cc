#include "verify/finite_before.h"

#include "halfsafe/rewrite.h"

namespace halfsafe {

bool FiniteBefore(const RangeTable* original, const std::string& name, bool nan) {
  if (original == nullptr) return true;
  const TensorStats* stats = original->Find(name);
  if (stats == nullptr) stats = original->Find(OriginalName(name));
  return stats == nullptr || (nan ? stats->nan_count : stats->inf_count) == 0;
}

}  // namespace halfsafe
