#include "model/sparse.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <span>
#include <stdexcept>
#include <unordered_map>
#include <unordered_set>

#include "base/file.h"
#include "halfsafe/error.h"
#include "model/external_data.h"
#include "model/walk.h"

namespace halfsafe {
namespace {

/// What one protobuf file can hold. A sparse tensor of a few bytes can stand for more than memory holds.
constexpr uint64_t kDenseBytes = uint64_t{1} << 31;
/// All of a model's sparse tensors may stand for this much, and for so many times what they hold themselves
/// on top: one FP32 value in 3000 that is not zero, with its index.
constexpr uint64_t kAlwaysAllowed = uint64_t{64} << 20;
constexpr uint64_t kDenseTimes = 1000;

/// Positions of the values in the dense tensor, from either form of indices: one number a value, or one a
/// dimension. Throws a reason.
std::vector<uint64_t> Positions(const Array& indices, const onnx::TensorProto& dense, uint64_t values) {
  const auto& dims = dense.dims();
  const bool by_dimension = indices.shape.size() == 2;
  const size_t numbers = by_dimension ? static_cast<size_t>(dims.size()) : 1;
  if (indices.dtype != DType::kInt64 || indices.bytes.size() != values * numbers * sizeof(int64_t))
    throw std::invalid_argument(fmt::format("it has {} values, and its indices are {} of shape [{}]", values,
                                            DTypeName(indices.dtype), fmt::join(indices.shape, ", ")));
  std::vector<uint64_t> positions(values, 0);
  for (size_t i = 0; i < values * numbers; ++i) {
    int64_t index = 0;
    std::memcpy(&index, indices.bytes.data() + i * sizeof(index), sizeof(index));
    const uint64_t limit =
        by_dimension ? static_cast<uint64_t>(dims[static_cast<int>(i % numbers)]) : TensorElementCount(dense);
    if (index < 0 || static_cast<uint64_t>(index) >= limit)
      throw std::invalid_argument(
          fmt::format("index {} lies outside of its shape [{}]", index, fmt::join(dims, ", ")));
    uint64_t& position = positions[i / numbers];
    position = position * limit + static_cast<uint64_t>(index);
  }
  return positions;
}

/// What sparse tensors may still stand for.
class Budget {
 public:
  /// Throws a reason where `dense` bytes are too many for `sparse` ones.
  void Take(uint64_t dense, uint64_t sparse) {
    left_ += kDenseTimes * sparse;
    const uint64_t most = dense > kDenseBytes ? kDenseBytes : left_;
    if (dense > most)
      throw std::invalid_argument(
          fmt::format("it has {} bytes when dense, expected at most {}", dense, most));
    left_ -= dense;
  }

 private:
  uint64_t left_ = kAlwaysAllowed;
};

/// The dense tensor. Throws a reason.
onnx::TensorProto Dense(const onnx::SparseTensorProto& sparse, const Array& values, const Array& indices,
                        Budget* budget) {
  onnx::TensorProto dense;
  dense.set_data_type(sparse.values().data_type());
  *dense.mutable_dims() = sparse.dims();
  const size_t size = DTypeSize(values.dtype);
  const uint64_t bytes = TensorByteSize(dense);
  if (size == 0) throw std::invalid_argument(fmt::format("{} can't be made dense", DTypeName(values.dtype)));
  budget->Take(bytes, values.bytes.size() + indices.bytes.size());
  dense.mutable_raw_data()->resize(bytes, '\0');
  const auto positions = Positions(indices, dense, values.bytes.size() / size);
  for (size_t i = 0; i < positions.size(); ++i)
    std::memcpy(dense.mutable_raw_data()->data() + positions[i] * size, values.bytes.data() + i * size, size);
  return dense;
}

/// Brings data that lies in another file inside.
void TakeIn(const Array& array, onnx::TensorProto* tensor) {
  if (IsExternal(*tensor)) PutInside(array.bytes, tensor);
}

std::string HashOf(const onnx::TensorProto& tensor) {
  return Sha256Hex(std::as_bytes(std::span(tensor.raw_data().data(), tensor.raw_data().size())));
}

bool IsConstant(const onnx::NodeProto& node) {
  return node.op_type() == "Constant" && IsStandard(node.domain()) && node.output_size() == 1 &&
         node.attribute_size() == 1;
}

}  // namespace

std::vector<SparseConstant> MakeDense(const std::string& path,
                                      const std::function<Array(const onnx::TensorProto&)>& read,
                                      onnx::ModelProto* proto) {
  std::vector<SparseConstant> constants;
  Budget budget;
  const auto densify = [&](const std::string& name, onnx::SparseTensorProto* sparse) {
    try {
      const Array values = read(sparse->values()), indices = read(sparse->indices());
      onnx::TensorProto dense = Dense(*sparse, values, indices, &budget);
      TakeIn(values, sparse->mutable_values());
      TakeIn(indices, sparse->mutable_indices());
      constants.push_back({name, std::move(*sparse), HashOf(dense)});
      return dense;
    } catch (const std::invalid_argument& reason) {
      throw BadInput(fmt::format("{}: sparse constant {}: {}", path, name, reason.what()));
    }
  };
  for (onnx::GraphProto* graph : AllGraphs(proto->mutable_graph())) {
    for (auto& sparse : *graph->mutable_sparse_initializer()) {
      const std::string name = sparse.values().name();
      onnx::TensorProto dense = densify(name, &sparse);
      dense.set_name(name);
      graph->add_initializer()->Swap(&dense);
    }
    graph->clear_sparse_initializer();
    for (auto& node : *graph->mutable_node()) {
      if (!IsConstant(node) || !node.attribute(0).has_sparse_tensor()) continue;
      onnx::AttributeProto* attribute = node.mutable_attribute(0);
      onnx::TensorProto dense = densify(node.output(0), attribute->mutable_sparse_tensor());
      attribute->clear_sparse_tensor();
      attribute->set_name("value");
      attribute->set_type(onnx::AttributeProto::TENSOR);
      attribute->mutable_t()->Swap(&dense);
    }
  }
  return constants;
}

void MakeSparse(const std::vector<SparseConstant>& constants, onnx::ModelProto* proto) {
  const auto key = [](const std::string& name, const std::string& hash) { return name + '/' + hash; };
  std::unordered_map<std::string, std::vector<const SparseConstant*>> by_value;
  std::unordered_set<std::string_view> names;
  for (const SparseConstant& constant : constants) {
    by_value[key(constant.name, constant.dense_sha256)].push_back(&constant);
    names.insert(constant.name);
  }
  const auto find = [&](const std::string& name, const onnx::TensorProto& dense) -> const SparseConstant* {
    if (!names.contains(name)) return nullptr;
    const auto same = [&](const SparseConstant* constant) {
      return constant->name == name && constant->proto.values().data_type() == dense.data_type();
    };
    const auto& alike = by_value[key(name, HashOf(dense))];
    const auto found = std::find_if(alike.begin(), alike.end(), same);
    return found == alike.end() ? nullptr : *found;
  };
  for (onnx::GraphProto* graph : AllGraphs(proto->mutable_graph())) {
    auto* initializers = graph->mutable_initializer();
    const auto dense_end =
        std::remove_if(initializers->begin(), initializers->end(), [&](const auto& tensor) {
          const SparseConstant* constant = find(tensor.name(), tensor);
          if (constant != nullptr) *graph->add_sparse_initializer() = constant->proto;
          return constant != nullptr;
        });
    initializers->erase(dense_end, initializers->end());
    for (auto& node : *graph->mutable_node()) {
      if (!IsConstant(node) || !node.attribute(0).has_t()) continue;
      const SparseConstant* constant = find(node.output(0), node.attribute(0).t());
      if (constant == nullptr) continue;
      onnx::AttributeProto* attribute = node.mutable_attribute(0);
      attribute->clear_t();
      attribute->set_name("sparse_value");
      attribute->set_type(onnx::AttributeProto::SPARSE_TENSOR);
      *attribute->mutable_sparse_tensor() = constant->proto;
    }
  }
}

}  // namespace halfsafe
