#pragma once

#include <cstddef>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "halfsafe/sample.h"

namespace onnx {
class ModelProto;
class TensorProto;
}  // namespace onnx

namespace halfsafe {

class DataFile;
class GraphIndex;

/// Bytes of a tensor, and what keeps them alive where that is not the model.
struct TensorBytes {
  std::span<const std::byte> bytes;   ///< Little endian, in C order.
  std::shared_ptr<const void> owner;  ///< Keeps them alive; null where the model does.
};

/// FP32 values of a tensor, and what keeps them alive where that is not the model.
struct FloatView {
  std::span<const float> values;      ///< In C order.
  std::shared_ptr<const void> owner;  ///< Keeps them alive; null where the model does.
};

/// An ONNX model in memory. Weights in external files are mapped, not read. Model-local functions are inlined
/// when a model is loaded, so that every tensor of theirs can be seen and retyped, and sparse constants are
/// dense; Save makes those sparse again that are what they were.
class Model {
 public:
  /// Throws Error(kBadInput) when the file is not an ONNX model, is truncated, or refers to external data
  /// that is missing, too short or outside the model's folder, or has entries that only models in memory may
  /// have.
  static Model Load(const std::filesystem::path& path);
  /// The same from what such a file holds. It is read as if it lay at `path`: external data is looked for
  /// beside that, and messages name it. Throws what Load throws.
  static Model Parse(std::span<const std::byte> bytes, const std::filesystem::path& path);
  /// A model made from `base`: external data of `base` stays readable through it.
  Model(const Model& base, onnx::ModelProto proto);
  ~Model();
  /// Models move, and are not copied. One that was moved from can only be assigned to or destroyed.
  Model(Model&&) noexcept;
  /// See above.
  Model& operator=(Model&&) noexcept;

  /// The graph and what belongs to it, as ONNX's messages. External data is not in them: see RawBytes.
  const onnx::ModelProto& proto() const;
  /// Hex SHA-256 of the file that was loaded (of the .onnx file alone, without external data).
  const std::string& sha256() const;
  /// The file that was loaded.
  const std::filesystem::path& path() const;
  /// The files that its external data is in.
  std::vector<std::filesystem::path> data_paths() const;
  /// Size of the model as a file would hold it, external data included.
  uint64_t bytes() const;

  /// Raw little-endian bytes of `tensor` where it holds them as such (raw_data, or external data through the
  /// map); empty where it uses typed fields. Large weights that Lifted widened or Apply changed are converted
  /// anew each time.
  TensorBytes RawBytes(const onnx::TensorProto& tensor) const;
  /// Gives the memory behind a tensor's external data, or behind all of it, back to the system, which reads
  /// the file again where the bytes are touched again.
  void Forget(const onnx::TensorProto& tensor) const;
  /// The same for all tensors.
  void Forget() const;

  /// Writes the model. Above `external_threshold` bytes in all, weights go to a file beside it, `path` with a
  /// hash of them and ".data" behind. Both appear only when they are whole, first the weights; those of a
  /// model that this one replaces are removed. Throws Error(kBadInput) when they can't be written.
  void Save(const std::filesystem::path& path, uint64_t external_threshold = uint64_t{1} << 30) const;
  /// What Save writes for a small model: one file's bytes, all weights inside. Throws Error(kBadInput) past
  /// the 2 GiB that one protobuf message can have.
  std::string ToBytes() const;

  /// Its tensors, nodes and graphs by number, made on first use: what the stages share
  /// (src/model/graph_index.h). Throws Error(kBadInput) when the graph is broken.
  const GraphIndex& index() const;

  /// Types of tensors that ONNX's own inference can't find, by full name (see CompleteTypes).
  const std::map<std::string, DType>& known_types() const;
  /// Makes what `index` and Lifted returned invalid.
  void SetKnownTypes(std::map<std::string, DType> types);

  /// Converts the model, bodies included, to a newer opset of the standard domain. Results stay what they
  /// are. Nodes and tensors keep their names; what has to be added goes by the node that it is for and its
  /// own operator ("Clip_3:Constant"). Operators of other domains, weights, descriptions and the rest stay as
  /// they are; the IR version rises where the opset needs it. Throws Error(kUsage) when the model's opset is
  /// newer than `opset`, or ONNX does not know `opset`; Error(kBadInput) that names file, node and both
  /// opsets where a node has no form there. On failure nothing has changed; else what `index` and Lifted
  /// returned is invalid.
  void RaiseOpset(int opset);
  /// Raises a model of opset 6, for which ONNX Runtime lacks most kernels, to 7; leaves any other as it is,
  /// and one that can't be converted.
  void RaiseToRun();
  /// What RaiseOpset was asked for, of this model or the one that it was made from.
  std::optional<int> raised_opset() const;

  /// The FP32 model behind one that holds FP16 or BF16, which is what scan, plan and check take for the
  /// original: 16-bit weights are widened exactly, as they are read, tensors are FP32, and Casts among FP32,
  /// FP16 and BF16 are gone (an Identity where they write an output of a graph). Names of all other nodes and
  /// tensors stay, and so do FP64, integers and FP8. The model itself where it holds no 16-bit type. Made on
  /// first use and kept; refers to this model, which must outlive it. Throws Error(kBadInput) where bits of
  /// 16-bit values are read as another type (BitCast).
  const Model& Lifted() const;
  /// Of a model that Lifted made, the one that it was made from; null for all others.
  const Model* AsStored() const;
  /// Has Lifted leave out what exporters put into FP16 models to keep them finite: clamps at +-65504 or
  /// +-64504. Makes what Lifted returned invalid.
  void LiftClamps();
  /// Whether LiftClamps was asked for, of this model or the one that it was made from.
  bool lifts_clamps() const;

  /// Inputs that a sample has to give: graph inputs without an initializer.
  std::vector<InputSpec> Inputs() const;

 private:
  Model();
  Model AsInFile() const;
  void ReadMessage(std::span<const std::byte> bytes);
  void Prepare();
  onnx::ModelProto WithWeights(DataFile* data) const;
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/// Asks ONNX Runtime for the types that ONNX's inference leaves open, as behind operators that only the
/// runtime or a custom operator library knows. Does nothing where all types of the main graph are known.
/// Throws Error(kBadInput) when ONNX Runtime can't load the model.
void CompleteTypes(Model* model, const std::vector<std::filesystem::path>& custom_op_libraries);

/// Decodes a tensor constant, whatever field it uses, to a dense array. Throws Error(kBadInput) when dims and
/// data don't agree or the type is a string.
Array ReadTensor(const Model& model, const onnx::TensorProto& tensor);

/// Values of a float tensor constant (FP16, BF16, FP32 or FP64), rounded to FP32: where they lie, if they can
/// be read there, else a copy. Throws what ReadTensor throws, and Error(kBadInput) for other types.
FloatView ViewFloats(const Model& model, const onnx::TensorProto& tensor);
/// The same, always a copy.
std::vector<float> ReadFloats(const Model& model, const onnx::TensorProto& tensor);

}  // namespace halfsafe
