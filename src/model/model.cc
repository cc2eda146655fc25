#include "halfsafe/model.h"

#include <fmt/format.h>
#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/io/zero_copy_stream_impl_lite.h>
#include <onnx/onnx_pb.h>

#include <cstring>
#include <future>
#include <limits>
#include <mutex>
#include <new>
#include <optional>
#include <set>
#include <unordered_map>
#include <unordered_set>

#include "base/file.h"
#include "base/open.h"
#include "halfsafe/error.h"
#include "halfsafe/half.h"
#include "halfsafe/progress.h"
#include "model/data_file.h"
#include "model/external_data.h"
#include "model/functions.h"
#include "model/graph_index.h"
#include "model/lift.h"
#include "model/node_order.h"
#include "model/opset.h"
#include "model/sparse.h"
#include "model/walk.h"

namespace halfsafe {
namespace {

/// Lets protobuf write into an AtomicFile; it knows only success and failure, so the reason is kept.
class FileStream : public google::protobuf::io::CopyingOutputStream {
 public:
  explicit FileStream(AtomicFile* file) : file_(file) {}
  bool Write(const void* buffer, int size) override {
    try {
      file_->Write(buffer, static_cast<size_t>(size));
      return true;
    } catch (...) {
      failure = std::current_exception();
      return false;
    }
  }
  std::exception_ptr failure;

 private:
  AtomicFile* file_;
};

/// External data is looked for where ForEachTensorConstant goes. Elsewhere it would be left to ONNX Runtime,
/// which looks for it beside the process.
void RefuseOtherExternalData(const std::string& path, const onnx::GraphProto& graph) {
  const auto refuse = [&](const onnx::TensorProto& tensor) {
    if (!IsExternal(tensor)) return;
    throw BadInput(
        fmt::format("{}: tensor {} has external data, which only initializers and single tensors of "
                    "nodes may have",
                    path, tensor.name()));
  };
  const auto refuse_sparse = [&](const onnx::SparseTensorProto& tensor) {
    refuse(tensor.values());
    refuse(tensor.indices());
  };
  for (const auto& tensor : graph.sparse_initializer()) refuse_sparse(tensor);
  for (const auto& node : graph.node()) {
    for (const auto& attribute : node.attribute()) {
      for (const auto& tensor : attribute.tensors()) refuse(tensor);
      for (const auto& tensor : attribute.sparse_tensors()) refuse_sparse(tensor);
      if (attribute.has_sparse_tensor()) refuse_sparse(attribute.sparse_tensor());
      if (attribute.has_g()) RefuseOtherExternalData(path, attribute.g());
      for (const auto& inside : attribute.graphs()) {
        ForEachTensorConstant(inside, refuse);
        RefuseOtherExternalData(path, inside);
      }
    }
  }
}

}  // namespace

struct Model::Impl {
  std::filesystem::path path;
  std::string sha256;
  onnx::ModelProto proto;
  std::map<std::string, DType> known_types;
  std::optional<int> raised_opset;
  /// What is dense in `proto` and sparse in files, shared with models made from this one.
  std::shared_ptr<const std::vector<SparseConstant>> sparse;
  /// External files by location, shared with models made from this one.
  std::unordered_map<std::string, std::shared_ptr<MappedFile>> external;
  uint64_t external_size = 0;   ///< Of these files together.
  uint64_t external_bytes = 0;  ///< What initializers take of them, in all.
  std::mutex indexing;
  std::unique_ptr<const GraphIndex> index;
  bool lift_clamps = false;
  std::mutex lifting;
  bool lift_tried = false;              ///< `lifted` says what came of it.
  std::unique_ptr<const Model> lifted;  ///< Null where there is nothing to lift.
  const Model* stored = nullptr;        ///< Of a lifted model, the one that holds it.

  /// For when the graph has changed.
  void Invalidate() {
    index.reset();
    lifted.reset();
    lift_tried = false;
  }

  void MapExternal(const onnx::TensorProto& tensor);
  /// Of an external tensor, as the file has them.
  std::span<const std::byte> BytesInFile(const onnx::TensorProto& tensor, const ExternalReference& reference);
};

void Model::Impl::MapExternal(const onnx::TensorProto& tensor) {
  const ExternalReference reference = ReadReference(tensor);
  if (reference.conversion) {
    throw BadInput(fmt::format("{}: external data of initializer {} has entries that no file may have",
                               path.string(), tensor.name()));
  }
  if (!external.contains(reference.location)) {
    const std::filesystem::path folder = path.has_parent_path() ? path.parent_path() : ".";
    try {
      external[reference.location] = std::make_shared<MappedFile>(
          OpenInside(folder, reference.location), folder / reference.location, "external data");
    } catch (const Error& error) {
      throw Error(error.code(), fmt::format("{}: external data of initializer {} is refused: {}",
                                            path.string(), tensor.name(), error.what()));
    }
    external_size += external[reference.location]->bytes().size();
  }
  const uint64_t size = external[reference.location]->bytes().size();
  const uint64_t need = TensorByteSize(tensor);
  if (reference.length && *reference.length != need) {
    throw BadInput(fmt::format("{}: initializer {} needs {} bytes, its external data entry says {}",
                               path.string(), tensor.name(), need, *reference.length));
  }
  if (reference.offset > size || need > size - reference.offset) {
    throw BadInput(fmt::format("{}: initializer {} needs bytes {} to {} of {}, which has {}", path.string(),
                               tensor.name(), reference.offset, reference.offset + need, reference.location,
                               size));
  }
  // Initializers may share their bytes, but each is a weight of its own for ONNX Runtime.
  constexpr uint64_t kFreeBytes = uint64_t{64} << 20, kMostTimes = 16;
  external_bytes += need;
  if (external_bytes > kFreeBytes + kMostTimes * external_size) {
    throw BadInput(
        fmt::format("{}: its initializers share external data: they take {} bytes of files that have {}",
                    path.string(), external_bytes, external_size));
  }
}

std::span<const std::byte> Model::Impl::BytesInFile(const onnx::TensorProto& tensor,
                                                    const ExternalReference& reference) {
  const uint64_t size = reference.conversion
                            ? TensorElementCount(tensor) * DTypeSize(reference.conversion->from)
                            : TensorByteSize(tensor);
  return external.at(reference.location)->bytes().subspan(reference.offset, size);
}

Model::Model() : impl_(std::make_unique<Impl>()) {}
Model::~Model() = default;
Model::Model(Model&& other) noexcept : impl_(std::move(other.impl_)) {
  if (impl_ != nullptr && impl_->lifted != nullptr) impl_->lifted->impl_->stored = this;
}
Model& Model::operator=(Model&& other) noexcept {
  impl_ = std::move(other.impl_);
  if (impl_ != nullptr && impl_->lifted != nullptr) impl_->lifted->impl_->stored = this;
  return *this;
}

Model::Model(const Model& base, onnx::ModelProto proto) : Model() {
  impl_->path = base.impl_->path;
  impl_->sha256 = base.impl_->sha256;
  impl_->raised_opset = base.impl_->raised_opset;
  impl_->lift_clamps = base.impl_->lift_clamps;
  impl_->sparse = base.impl_->sparse;
  impl_->external = base.impl_->external;
  impl_->proto = std::move(proto);
}

Model Model::Load(const std::filesystem::path& path) {
  Model model;
  model.impl_->path = path;
  model.ReadMessage(MappedFile(path, "model").bytes());
  model.Prepare();
  return model;
}

Model Model::Parse(std::span<const std::byte> bytes, const std::filesystem::path& path) {
  Model model;
  model.impl_->path = path;
  model.ReadMessage(bytes);
  model.Prepare();
  return model;
}

void Model::ReadMessage(std::span<const std::byte> bytes) {
  const std::string name = impl_->path.string();
  auto sha256 =
      std::async(std::launch::async, [bytes] { return Sha256Hex(bytes); });  // Takes as long as parsing.
  if (bytes.size() > static_cast<size_t>(std::numeric_limits<int>::max())) {
    throw BadInput(fmt::format("{} has {} bytes; one protobuf file holds at most 2 GiB: use external data",
                               name, bytes.size()));
  }
  google::protobuf::io::ArrayInputStream stream(bytes.data(), static_cast<int>(bytes.size()));
  google::protobuf::io::CodedInputStream coded(&stream);
  coded.SetRecursionLimit(1000);
  if (!impl_->proto.ParseFromCodedStream(&coded) || !coded.ConsumedEntireMessage()) {
    throw BadInput(
        fmt::format("{} is not an ONNX model, or is truncated: its protobuf ends or breaks at byte {} of {}",
                    name, coded.CurrentPosition(), bytes.size()));
  }
  impl_->sha256 = sha256.get();
}

/// Brings a message that was just read into the form that models have in memory.
void Model::Prepare() {
  Impl& impl = *impl_;
  const std::filesystem::path& path = impl.path;
  if (!impl.proto.has_graph() || impl.proto.graph().output_size() == 0 ||
      impl.proto.opset_import_size() == 0) {
    throw BadInput(fmt::format("{} is not an ONNX model: found no {}", path.string(),
                               !impl.proto.has_graph()                 ? "graph"
                               : impl.proto.graph().output_size() == 0 ? "graph output"
                                                                       : "opset import"));
  }
  // Each is looked for from its first on, for every node.
  constexpr int kMostOpsets = 1000;
  if (impl.proto.opset_import_size() > kMostOpsets) {
    throw BadInput(fmt::format("{} imports {} opsets, expected at most {}", path.string(),
                               impl.proto.opset_import_size(), kMostOpsets));
  }
  InlineFunctions(path.string(), &impl.proto);
  SortNodes(impl.proto.mutable_graph());
  const auto open = [&](const onnx::TensorProto& tensor) {
    TensorElementCount(tensor);  // Throws for dimensions that no tensor can have.
    if (IsExternal(tensor)) impl.MapExternal(tensor);
  };
  const auto read = [&](const onnx::TensorProto& tensor) {
    open(tensor);
    return ReadTensor(*this, tensor);
  };
  auto sparse = MakeDense(path.string(), read, &impl.proto);
  if (!sparse.empty()) impl.sparse = std::make_shared<const std::vector<SparseConstant>>(std::move(sparse));
  ForEachMutableTensorConstant(impl.proto.mutable_graph(), [&](onnx::TensorProto* tensor) {
    open(*tensor);
    // Shape inference reads shapes, axes and the like, and follows no reference.
    if (IsExternal(*tensor) && TensorByteSize(*tensor) <= kSmallTensor)
      PutInside(impl.BytesInFile(*tensor, ReadReference(*tensor)), tensor);
  });
  RefuseOtherExternalData(path.string(), impl.proto.graph());
}

const onnx::ModelProto& Model::proto() const { return impl_->proto; }
const std::map<std::string, DType>& Model::known_types() const { return impl_->known_types; }
void Model::SetKnownTypes(std::map<std::string, DType> types) {
  impl_->known_types = std::move(types);
  impl_->Invalidate();
}
const GraphIndex& Model::index() const {
  const std::lock_guard<std::mutex> lock(impl_->indexing);
  if (impl_->index == nullptr) impl_->index = std::make_unique<const GraphIndex>(*this);
  return *impl_->index;
}
const std::string& Model::sha256() const { return impl_->sha256; }
const std::filesystem::path& Model::path() const { return impl_->path; }

std::vector<std::filesystem::path> Model::data_paths() const {
  std::vector<std::filesystem::path> paths;
  for (const auto& [location, file] : impl_->external) paths.push_back(file->path());
  return paths;
}

void Model::RaiseOpset(int opset) {
  OpsetConversion(*this, opset).ApplyTo(&impl_->proto);
  impl_->raised_opset = opset;
  impl_->Invalidate();
}

void Model::RaiseToRun() {
  constexpr int kOldestRun = 7;
  if (OpsetVersion(impl_->proto, "") != kOldestRun - 1) return;
  try {
    RaiseOpset(kOldestRun);
  } catch (const Error&) {
    // What ONNX Runtime has of opset 6 may do.
  }
}

std::optional<int> Model::raised_opset() const { return impl_->raised_opset; }

const Model& Model::Lifted() const {
  const std::lock_guard<std::mutex> lock(impl_->lifting);
  if (!impl_->lift_tried) {
    if (std::optional<LiftedModel> lifted = Lift(*this)) {
      Model model(*this, std::move(lifted->proto));
      model.SetKnownTypes(std::move(lifted->known_types));
      model.impl_->stored = this;
      impl_->lifted = std::make_unique<const Model>(std::move(model));
    }
    impl_->lift_tried = true;
  }
  return impl_->lifted != nullptr ? *impl_->lifted : *this;
}

const Model* Model::AsStored() const { return impl_->stored; }

void Model::LiftClamps() {
  impl_->lift_clamps = true;
  impl_->Invalidate();
}

bool Model::lifts_clamps() const { return impl_->lift_clamps; }

TensorBytes Model::RawBytes(const onnx::TensorProto& tensor) const {
  if (!IsExternal(tensor))
    return {std::as_bytes(std::span(tensor.raw_data().data(), tensor.raw_data().size())), nullptr};
  const ExternalReference reference = ReadReference(tensor);
  const auto in_file = impl_->BytesInFile(tensor, reference);
  if (!reference.conversion) return {in_file, nullptr};
  const size_t size = TensorByteSize(tensor);
  const auto converted = std::make_shared_for_overwrite<std::byte[]>(size);
  ConvertWeight(in_file, *reference.conversion, converted.get());
  Forget(tensor);  // What was read is in memory in its other form now, and need not be twice.
  return {{converted.get(), size}, converted};
}

void Model::Forget(const onnx::TensorProto& tensor) const {
  if (!IsExternal(tensor)) return;
  const ExternalReference reference = ReadReference(tensor);
  impl_->external.at(reference.location)->Forget(impl_->BytesInFile(tensor, reference));
}

void Model::Forget() const {
  for (const auto& [location, file] : impl_->external) file->Forget(file->bytes());
}

Model Model::AsInFile() const {
  Model result(*this, impl_->proto);
  MakeSparse(*impl_->sparse, &result.impl_->proto);
  result.impl_->sparse = nullptr;
  return result;
}

uint64_t Model::bytes() const {
  if (impl_->sparse != nullptr) return AsInFile().bytes();
  uint64_t total = impl_->proto.ByteSizeLong();
  ForEachTensorConstant(impl_->proto.graph(), [&](const onnx::TensorProto& tensor) {
    if (IsExternal(tensor)) total += TensorByteSize(tensor);
  });
  return total;
}

std::vector<InputSpec> Model::Inputs() const {
  std::unordered_set<std::string> initialized;
  for (const auto& tensor : impl_->proto.graph().initializer()) initialized.insert(tensor.name());
  std::vector<InputSpec> specs;
  for (const auto& input : impl_->proto.graph().input()) {
    if (initialized.contains(input.name())) continue;
    InputSpec spec;
    spec.name = input.name();
    // A value takes the place of an optional that holds it.
    const onnx::TypeProto* type = &input.type();
    if (type->has_optional_type()) type = &type->optional_type().elem_type();
    spec.sequence = type->has_sequence_type();
    if (spec.sequence) type = &type->sequence_type().elem_type();
    if (!type->has_tensor_type()) {
      throw BadInput(
          fmt::format("{}: input {} is neither a tensor nor a sequence of tensors; others can't be given",
                      impl_->path.string(), input.name()));
    }
    spec.dtype = static_cast<DType>(type->tensor_type().elem_type());
    spec.any_rank = !type->tensor_type().has_shape();
    for (const auto& dim : type->tensor_type().shape().dim()) {
      // Some exporters write -1 for a free dimension where the standard has no value or a name.
      spec.shape.push_back(dim.has_dim_value() && dim.dim_value() >= 0 ? dim.dim_value() : -1);
    }
    specs.push_back(std::move(spec));
  }
  return specs;
}

/// The message that a file holds. Weights that lie in external files of the source go to `data`, or inside
/// where that is null: a model that points into another model's files would break when that one goes.
onnx::ModelProto Model::WithWeights(DataFile* data) const {
  onnx::ModelProto proto =
      WithoutLargeTensors(impl_->proto, data ? kSmallTensor : std::numeric_limits<size_t>::max());
  std::vector<const onnx::TensorProto*> sources;
  ForEachTensorConstant(impl_->proto.graph(),
                        [&](const onnx::TensorProto& tensor) { sources.push_back(&tensor); });
  size_t next = 0;
  std::vector<onnx::TensorProto*> outside;
  ForEachMutableTensorConstant(proto.mutable_graph(), [&](onnx::TensorProto* tensor) {
    ThrowIfInterrupted();
    const onnx::TensorProto& source = *sources[next++];
    const bool moved = IsExternal(source) || tensor->raw_data().size() != source.raw_data().size();
    if (!moved) return;
    const TensorBytes raw = RawBytes(source);
    if (data == nullptr) {
      PutInside(raw.bytes, tensor);
      Forget(source);
      return;
    }
    WriteReference({"", data->Append(raw.bytes), raw.bytes.size()}, tensor);
    outside.push_back(tensor);
    Forget(source);
  });
  if (data == nullptr) return proto;
  const std::string location = data->Finish();
  for (onnx::TensorProto* tensor : outside) tensor->mutable_external_data(0)->set_value(location);
  return proto;
}

void Model::Save(const std::filesystem::path& path, uint64_t external_threshold) const {
  if (impl_->sparse != nullptr) return AsInFile().Save(path, external_threshold);
  std::optional<DataFile> data;
  if (bytes() > external_threshold) data.emplace(path);
  AtomicFile file(path);
  const onnx::ModelProto proto = WithWeights(data ? &*data : nullptr);
  FileStream stream(&file);
  google::protobuf::io::CopyingOutputStreamAdaptor buffered(&stream, 1 << 20);
  if (!proto.SerializeToZeroCopyStream(&buffered) || !buffered.Flush()) {
    if (stream.failure) std::rethrow_exception(stream.failure);
    throw BadInput(
        fmt::format("cannot write {}: the model is larger than one protobuf file can be", path.string()));
  }
  std::set<std::filesystem::path> replaced = DataFilesOf(path);
  if (data) data->Commit();
  file.Commit();
  if (data) replaced.erase(data->Keep());
  std::error_code ignored;
  for (const std::filesystem::path& old : replaced) std::filesystem::remove(old, ignored);
}

std::string Model::ToBytes() const {
  if (impl_->sparse != nullptr) return AsInFile().ToBytes();
  std::string result;
  if (bytes() > static_cast<uint64_t>(std::numeric_limits<int>::max()) ||
      !WithWeights(nullptr).SerializeToString(&result)) {
    throw BadInput(
        fmt::format("the model has {} bytes; one protobuf message holds at most 2 GiB: save it to "
                    "a file, which may have its weights beside it",
                    bytes()));
  }
  return result;
}

}  // namespace halfsafe
