#include <algorithm>
#include <span>
#include <vector>

#include "base/test_folder.h"
#include "data/npy.h"
#include "data/npz.h"
#include "data/onnx_test_data.h"
#include "data/polygraphy.h"
#include "fuzz/files.h"
#include "halfsafe/sample.h"

namespace halfsafe::fuzz {
namespace {

const std::vector<InputSpec>& SomeInputs() {
  static const std::vector<InputSpec> inputs = {{"x", DType::kFloat, {-1, 2}}, {"i/0:1", DType::kInt64, {3}}};
  return inputs;
}

/// Whether there are as many elements as the shape says.
bool Consistent(const Array& array) {
  constexpr uint64_t kByte = 8;
  uint64_t elements = 1;
  for (const int64_t dim : array.shape) elements *= static_cast<uint64_t>(dim);
  if (array.dtype == DType::kString)
    return static_cast<uint64_t>(std::count(array.bytes.begin(), array.bytes.end(), std::byte{0})) ==
           elements;
  return (elements * DTypeBits(array.dtype) + kByte - 1) / kByte == array.bytes.size();
}

/// Reads a few of the samples, which are to be what they say.
void ReadSome(const SampleSource& source) {
  constexpr uint64_t kSome = 3;
  for (uint64_t i = 0; i < source.size() && i < kSome; ++i) {
    MayRefuse([&] {
      const Sample sample = source.Read(i);
      for (const NamedArray& input : sample.inputs) {
        const std::span<const Array> arrays =
            input.sequence ? std::span<const Array>(*input.sequence) : std::span(&input.array, 1);
        Require(std::all_of(arrays.begin(), arrays.end(), Consistent), "shape and bytes differ");
      }
      ValidateSample(sample, SomeInputs());
    });
  }
}

}  // namespace

void ReadPolygraphy(Bytes bytes) {
  const MemoryFile file(bytes);
  MayRefuse([&] { ReadSome(*OpenPolygraphyInputs(file.path(), "inputs")); });
  MayRefuse([&] { ReadSome(*OpenPolygraphyOutputs(file.path(), "outputs")); });
}

void ReadNpy(Bytes bytes) {
  MayRefuse([&] {
    const Array array = ParseNpy(bytes, "array");
    const std::string again = NpyBytes(array);
    const Array copy = ParseNpy(AsBytes(again), "copy");
    Require(copy.dtype == array.dtype && copy.shape == array.shape && copy.bytes == array.bytes,
            "what is written is not what was read");
  });
}

void ReadNpz(Bytes bytes) {
  MayRefuse([&] { NpzFile(bytes, "payload").Read(0); });
  const MemoryFile file(bytes);
  for (const bool leading_axis : {false, true}) {
    MayRefuse([&] { ReadSome(*OpenNpzSamples(file.path(), "file", leading_axis)); });
  }
}

void ReadTestData(Bytes bytes) {
  static const TempFolder folder;
  const std::filesystem::path path = folder / "input_0.pb";
  const MemoryFile file(bytes);
  std::filesystem::remove(path);
  std::filesystem::create_symlink(file.path(), path);
  MayRefuse([&] { ReadSome(*OpenTestData(folder.path(), "data", SomeInputs())); });
  MayRefuse([&] { ReadSome(*OpenTestData(folder.path(), "data", {})); });
}

}  // namespace halfsafe::fuzz
