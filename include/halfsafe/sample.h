#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace halfsafe {

/// Element types by their number in onnx::TensorProto::DataType.
enum class DType : int {
  kUndefined = 0,
  kFloat = 1,
  kUint8 = 2,
  kInt8 = 3,
  kUint16 = 4,
  kInt16 = 5,
  kInt32 = 6,
  kInt64 = 7,
  kString = 8,
  kBool = 9,
  kFloat16 = 10,
  kDouble = 11,
  kUint32 = 12,
  kUint64 = 13,
  kComplex64 = 14,
  kComplex128 = 15,
  kBfloat16 = 16,
  kFloat8E4M3FN = 17,
  kFloat8E4M3FNUZ = 18,
  kFloat8E5M2 = 19,
  kFloat8E5M2FNUZ = 20,
  kUint4 = 21,
  kInt4 = 22,
  kFloat4E2M1 = 23,
  kFloat8E8M0 = 24,
  kUint2 = 25,
  kInt2 = 26,
};

/// Lower-case name ("float32", "int64", ...), or "type N".
std::string DTypeName(DType dtype);
/// The type of this name; kUndefined when there is none.
DType DTypeFromName(std::string_view name);
/// Bits of one element; 0 for strings and types that samples can't have. Elements of less than a byte are
/// packed, as ONNX packs them.
size_t DTypeBits(DType dtype);
/// Bytes of one element; 0 where it has no whole number of them.
size_t DTypeSize(DType dtype);
/// FP16, BF16, FP32 or FP64.
bool IsFloat(DType dtype);
/// FP16 or BF16.
constexpr bool IsSixteenBit(DType dtype) { return dtype == DType::kFloat16 || dtype == DType::kBfloat16; }

/// A dense array in C order, little endian.
struct Array {
  DType dtype = DType::kFloat;  ///< Of each element.
  std::vector<int64_t> shape;   ///< Empty for a scalar.
  /// product(shape) elements of DTypeBits(dtype), up to a whole byte; strings each with a zero byte behind.
  std::vector<std::byte> bytes;
};

/// A value and what it is called.
struct NamedArray {
  std::string name;  ///< Of the input or tensor.
  Array array;       ///< Its value.
  /// In place of `array`, where the input is a sequence.
  std::optional<std::vector<Array>> sequence = std::nullopt;
};

/// One calibration sample: a value for every input of the model.
struct Sample {
  std::string name;  ///< Where it came from: "folder/3.npz", "inputs.json[3]". Unique in one run.
  std::vector<NamedArray> inputs;  ///< In the order of the source.
};

/// What a model expects of one input.
struct InputSpec {
  std::string name;             ///< The input's.
  DType dtype = DType::kFloat;  ///< What its elements have to be.
  std::vector<int64_t> shape;   ///< -1 where any size goes.
  bool any_rank = false;        ///< The model states no shape.
  bool sequence = false;        ///< Any number of such tensors.
};

/// A source of calibration samples that can be read any number of times, one sample in memory at a time.
class SampleSource {
 public:
  virtual ~SampleSource() = default;
  /// The number of samples, known without decoding them.
  virtual uint64_t size() const = 0;
  /// The name of sample `index` in [0, size()), known without decoding it.
  virtual std::string Name(uint64_t index) const = 0;
  /// Sample `index` in [0, size()). Throws Error(kBadInput) that names file, array, found and expected.
  virtual Sample Read(uint64_t index) const = 0;
};

/// How files are read.
struct DataOptions {
  bool leading_axis = false;  ///< An .npz holds many samples along the first axis of its arrays, not one.
};

/// Opens everything under `paths`, in the order given, folders in natural order of names ("2" before "10").
/// Takes Polygraphy input JSON, .npz, folders of .npy named after inputs, ONNX test data (input_K.pb), and
/// folders of these. `inputs` names the K-th input for input_K.pb. Throws Error(kBadInput) when nothing is
/// found.
std::unique_ptr<SampleSource> OpenSamples(const std::vector<std::filesystem::path>& paths,
                                          const std::vector<InputSpec>& inputs, const DataOptions& options);

/// `count` samples drawn from a fixed seed: floats from N(0, 1), integers 0 or 1, free dimensions 1.
std::unique_ptr<SampleSource> RandomSamples(uint64_t count, const std::vector<InputSpec>& inputs);

/// Gives the input called `name` a shape without free dimensions, as random samples then have it. Throws
/// Error(kUsage) where there is no such input, or it has another shape.
void GiveShape(const std::string& name, const std::vector<int64_t>& shape, std::vector<InputSpec>* inputs);

/// Samples `begin`, `begin + step`, ... of `source`, which must outlive the result.
std::unique_ptr<SampleSource> EverySample(const SampleSource& source, uint64_t begin, uint64_t step);

/// Each sample `times` times over, along the first axis of the inputs for which the model leaves it free.
/// `source` must outlive the result.
std::unique_ptr<SampleSource> RepeatSamples(const SampleSource& source, const std::vector<InputSpec>& inputs,
                                            int64_t times);

/// Samples of a stream that can be walked only once, kept to be read again: in memory until they take
/// `memory` bytes, from there on in a temporary file.
class SpooledSamples : public SampleSource {
 public:
  /// None yet; `memory` is in bytes.
  explicit SpooledSamples(uint64_t memory = uint64_t{256} << 20);
  ~SpooledSamples() override;

  /// Adds a sample behind the others; not while another thread reads. Throws Error(kBadInput) when the disk
  /// is full.
  void Add(Sample sample);
  uint64_t size() const override;
  std::string Name(uint64_t index) const override;
  Sample Read(uint64_t index) const override;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/// Throws Error(kBadInput) unless `sample` has exactly `inputs`, each of the right dtype, rank and fixed
/// dimensions, and no NaN in any float input.
void ValidateSample(const Sample& sample, const std::vector<InputSpec>& inputs, bool allow_nan = false);

/// Writes samples for other tools. A `path` that ends in .json becomes one Polygraphy input file, any other a
/// folder of .npz, one a sample. On failure, Error(kBadInput) is thrown and nothing left behind.
void WriteSamples(const SampleSource& source, const std::filesystem::path& path);

/// Tensors that Polygraphy recorded (`polygraphy run --save-outputs`: one file, or a folder of one file a
/// sample), as samples whose "inputs" are the recorded tensors. Throws Error(kBadInput) when there is none.
std::unique_ptr<SampleSource> OpenRecordedOutputs(const std::vector<std::filesystem::path>& paths);

/// Writes tensors in Polygraphy's output JSON, one sample after the other. A path with an extension is one
/// file, one without is a folder with a file a sample (0000000000.json on).
class RecordedOutputsWriter {
 public:
  /// Starts writing under a temporary name beside `path`. `runner_name` is what Polygraphy shows as the
  /// origin of the tensors. Throws Error(kBadInput) when nothing can be written there, as do the others.
  RecordedOutputsWriter(const std::filesystem::path& path, std::string runner_name);
  ~RecordedOutputsWriter();
  /// Writes the tensors of the next sample.
  void Add(const std::vector<NamedArray>& outputs);
  /// Makes the output appear; without it nothing is left behind.
  void Commit();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace halfsafe
