#pragma once

#include <string_view>

namespace halfsafe {

/// The page as built from src/report/web/, script and style inside, with places to fill in, each
/// %%halfsafe:NAME%%. Throws Error(kUnavailable) in a build without it.
std::string_view WebPage();

}  // namespace halfsafe
