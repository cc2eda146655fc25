#include "halfsafe/model.h"

#include <fmt/format.h>
#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/io/zero_copy_stream_impl_lite.h>
#include <onnx/checker.h>
#include <onnx/inliner/inliner.h>
#include <onnx/onnx_pb.h>

#include <cstring>
#include <future>
#include <limits>
#include <mutex>
#include <unordered_map>
#include <unordered_set>

#include "base/file.h"
#include "halfsafe/error.h"
#include "halfsafe/half.h"
#include "model/external_data.h"
#include "model/graph_index.h"
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

/// Functions that call functions twice double with each level: a few kB can stand for more nodes than memory
/// holds.
void RefuseHugeExpansion(const onnx::ModelProto& model, const std::filesystem::path& path) {
  constexpr double kMostNodes = 1e7;
  std::map<std::pair<std::string, std::string>, const onnx::FunctionProto*> functions;
  for (const auto& function : model.functions()) functions[{function.domain(), function.name()}] = &function;
  std::map<const onnx::FunctionProto*, double>
      sizes;  // A function under way counts as one node: cycles end here.
  const auto call = [&](const onnx::NodeProto& node, const auto& count) -> double {
    const auto found = functions.find({node.domain(), node.op_type()});
    double size = 1.0;
    if (found != functions.end()) {
      const auto [known, added] = sizes.emplace(found->second, 1.0);
      if (added) {
        const double counted = count(found->second->node(), count);
        sizes[found->second] = counted;
      }
      size = sizes[found->second];
    }
    for (const auto& attribute : node.attribute()) {
      if (attribute.has_g()) size += count(attribute.g().node(), count);
    }
    return size;
  };
  const auto count = [&](const auto& nodes, const auto& self) -> double {
    double total = 0.0;
    for (const auto& node : nodes) total += call(node, self);
    return total;
  };
  if (const double total = count(model.graph().node(), count); total > kMostNodes) {
    throw BadInput(fmt::format("{}: its model-local functions expand to {:.3g} nodes, more than {:.0e}",
                               path.string(), total, kMostNodes));
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
  std::mutex indexing;
  std::unique_ptr<const GraphIndex> index;

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
  const std::string folder = path.has_parent_path() ? path.parent_path().string() : ".";
  if (!external.contains(reference.location)) {
    std::filesystem::path file;
    try {
      // ONNX's own rules: relative, inside the folder, no links out of it, a regular file.
      file = onnx::checker::resolve_external_data_location(folder, reference.location, tensor.name());
    } catch (const std::exception& error) {
      throw BadInput(fmt::format("{}: external data of initializer {} is refused: {}", path.string(),
                                 tensor.name(), error.what()));
    }
    external[reference.location] = std::make_shared<MappedFile>(file, "external data");
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
}

std::span<const std::byte> Model::Impl::BytesInFile(const onnx::TensorProto& tensor,
                                                    const ExternalReference& reference) {
  const uint64_t size =
      reference.conversion ? TensorElementCount(tensor) * sizeof(float) : TensorByteSize(tensor);
  return external.at(reference.location)->bytes().subspan(reference.offset, size);
}

Model::Model() : impl_(std::make_unique<Impl>()) {}
Model::~Model() = default;
Model::Model(Model&&) noexcept = default;
Model& Model::operator=(Model&&) noexcept = default;

Model::Model(const Model& base, onnx::ModelProto proto) : Model() {
  impl_->path = base.impl_->path;
  impl_->sha256 = base.impl_->sha256;
  impl_->raised_opset = base.impl_->raised_opset;
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
  if (impl.proto.functions_size() > 0) {
    RefuseHugeExpansion(impl.proto, path);
    try {
      onnx::inliner::InlineLocalFunctions(impl.proto, true);
    } catch (const std::exception& error) {
      throw BadInput(
          fmt::format("{}: its model-local functions can't be inlined: {}", path.string(), error.what()));
    }
  }
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
}

const onnx::ModelProto& Model::proto() const { return impl_->proto; }
const std::map<std::string, DType>& Model::known_types() const { return impl_->known_types; }
void Model::SetKnownTypes(std::map<std::string, DType> types) {
  impl_->known_types = std::move(types);
  impl_->index.reset();
}
const GraphIndex& Model::index() const {
  const std::lock_guard<std::mutex> lock(impl_->indexing);
  if (impl_->index == nullptr) impl_->index = std::make_unique<const GraphIndex>(*this);
  return *impl_->index;
}
const std::string& Model::sha256() const { return impl_->sha256; }
const std::filesystem::path& Model::path() const { return impl_->path; }

void Model::RaiseOpset(int opset) {
  OpsetConversion(*this, opset).ApplyTo(&impl_->proto);
  impl_->raised_opset = opset;
  impl_->index.reset();
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

TensorBytes Model::RawBytes(const onnx::TensorProto& tensor) const {
  if (!IsExternal(tensor))
    return {std::as_bytes(std::span(tensor.raw_data().data(), tensor.raw_data().size())), nullptr};
  const ExternalReference reference = ReadReference(tensor);
  const auto in_file = impl_->BytesInFile(tensor, reference);
  if (!reference.conversion) return {in_file, nullptr};
  const size_t size = TensorByteSize(tensor);
  const auto converted = std::make_shared_for_overwrite<std::byte[]>(size);
  ConvertWeight(in_file, *reference.conversion, converted.get());
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

/// The message that a file holds. Weights that lie in external files of the source go to `data`, which the
/// message calls `location`, or inside where that is null: a model that points into another model's files
/// would break when that one goes.
onnx::ModelProto Model::WithWeights(AtomicFile* data, const std::string& location) const {
  onnx::ModelProto proto =
      WithoutLargeTensors(impl_->proto, data ? kSmallTensor : std::numeric_limits<size_t>::max());
  std::vector<const onnx::TensorProto*> sources;
  ForEachTensorConstant(impl_->proto.graph(),
                        [&](const onnx::TensorProto& tensor) { sources.push_back(&tensor); });
  size_t next = 0;
  ForEachMutableTensorConstant(proto.mutable_graph(), [&](onnx::TensorProto* tensor) {
    const onnx::TensorProto& source = *sources[next++];
    const bool moved = IsExternal(source) || tensor->raw_data().size() != source.raw_data().size();
    if (!moved) return;
    const TensorBytes raw = RawBytes(source);
    if (data == nullptr) {
      PutInside(raw.bytes, tensor);
      Forget(source);
      return;
    }
    // Mapping wants page-aligned offsets.
    constexpr uint64_t kAlign = 4096;
    static constexpr char kZeros[kAlign] = {};
    data->Write(kZeros, (kAlign - data->size() % kAlign) % kAlign);
    WriteReference({location, data->size(), raw.bytes.size()}, tensor);
    data->Write(raw.bytes.data(), raw.bytes.size());
    Forget(source);
  });
  return proto;
}

void Model::Save(const std::filesystem::path& path, uint64_t external_threshold) const {
  if (impl_->sparse != nullptr) return AsInFile().Save(path, external_threshold);
  const std::filesystem::path data_path = path.string() + ".data";
  std::unique_ptr<AtomicFile> data;
  if (bytes() > external_threshold) data = std::make_unique<AtomicFile>(data_path);
  AtomicFile file(path);
  const onnx::ModelProto proto = WithWeights(data.get(), data_path.filename().string());
  FileStream stream(&file);
  google::protobuf::io::CopyingOutputStreamAdaptor buffered(&stream, 1 << 20);
  if (!proto.SerializeToZeroCopyStream(&buffered) || !buffered.Flush()) {
    if (stream.failure) std::rethrow_exception(stream.failure);
    throw BadInput(
        fmt::format("cannot write {}: the model is larger than one protobuf file can be", path.string()));
  }
  if (data) data->Commit();
  file.Commit();
}

std::string Model::ToBytes() const {
  if (impl_->sparse != nullptr) return AsInFile().ToBytes();
  std::string result;
  if (bytes() > static_cast<uint64_t>(std::numeric_limits<int>::max()) ||
      !WithWeights(nullptr, "").SerializeToString(&result)) {
    throw BadInput(
        fmt::format("the model has {} bytes; one protobuf message holds at most 2 GiB: save it to "
                    "a file, which may have its weights beside it",
                    bytes()));
  }
  return result;
}

}  // namespace halfsafe
