// save_model MODEL OUT: saves a model with its weights in a file beside it, however small it is.

#include <cstdio>
#include <exception>

#include "halfsafe/model.h"

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  try {
    halfsafe::Model::Load(argv[1]).Save(argv[2], /*external_threshold=*/0);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "save_model: %s\n", error.what());
    return 3;
  }
  return 0;
}
