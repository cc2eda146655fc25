#include "tensorrt/warnings.h"

namespace halfsafe {

void Warnings::Add(std::string warning, std::string_view source) {
  if (shown_.insert(warning).second) progress_->Warn(std::string(source) + warning);
  all_.push_back(std::move(warning));
}

}  // namespace halfsafe
