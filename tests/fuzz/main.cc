// libFuzzer's entry points. HALFSAFE_FUZZ in the environment names the target.

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>

#include "fuzz/message_mutator.h"
#include "fuzz/targets.h"

extern "C" size_t LLVMFuzzerMutate(uint8_t* data, size_t size, size_t max_size);

namespace halfsafe::fuzz {
namespace {

const Target* g_target = nullptr;

const Target* FindTarget(const char* name) {
  for (const Target& target : kTargets) {
    if (name != nullptr && target.name == name) return &target;
  }
  std::fputs("HALFSAFE_FUZZ has to be one of:", stderr);
  for (const Target& target : kTargets) std::fprintf(stderr, " %s", target.name.data());
  std::fputs("\n", stderr);
  std::exit(2);
}

/// Now and then a message is changed as bytes all the same: what parses is not all that comes.
bool AsMessage(unsigned seed) { return seed % 16 != 0; }

}  // namespace
}  // namespace halfsafe::fuzz

using halfsafe::fuzz::g_target;

extern "C" int LLVMFuzzerInitialize(int* /*argc*/, char*** /*argv*/) {
  g_target = halfsafe::fuzz::FindTarget(std::getenv("HALFSAFE_FUZZ"));
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  g_target->run(std::as_bytes(std::span(data, size)));
  return 0;
}

extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t max_size, unsigned seed) {
  if (const auto prototype = halfsafe::fuzz::MessageOf(g_target->name);
      prototype != nullptr && halfsafe::fuzz::AsMessage(seed)) {
    const std::string changed = halfsafe::fuzz::MutateMessage(*prototype, {data, size}, max_size, seed);
    if (!changed.empty()) {
      std::copy(changed.begin(), changed.end(), data);
      return changed.size();
    }
  }
  return LLVMFuzzerMutate(data, size, max_size);
}

extern "C" size_t LLVMFuzzerCustomCrossOver(const uint8_t* first, size_t first_size, const uint8_t* second,
                                            size_t second_size, uint8_t* out, size_t max_size,
                                            unsigned seed) {
  const auto prototype = halfsafe::fuzz::MessageOf(g_target->name);
  if (prototype == nullptr) return 0;
  const std::string crossed =
      halfsafe::fuzz::CrossMessages(*prototype, {first, first_size}, {second, second_size}, max_size, seed);
  std::copy(crossed.begin(), crossed.end(), out);
  return crossed.size();
}
