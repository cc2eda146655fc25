#include "ranks/launcher.h"

#include <algorithm>
#include <array>
#include <cstdlib>

namespace halfsafe {

bool StartedByLauncher() {
  constexpr std::array kSigns = {"OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "PMIX_RANK"};
  return std::ranges::any_of(kSigns, [](const char* sign) { return std::getenv(sign) != nullptr; });
}

}  // namespace halfsafe
