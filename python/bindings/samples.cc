#include <fmt/format.h>

#include <functional>
#include <mutex>
#include <string_view>
#include <unordered_map>

#include "bindings.h"

namespace halfsafe::python {
namespace {

using nb::literals::operator""_a;

/// The bytes of an object with Python's buffer interface, in C order.
class Buffer {
 public:
  explicit Buffer(nb::handle object) {
    if (PyObject_GetBuffer(object.ptr(), &view_, PyBUF_SIMPLE) != 0) throw nb::python_error();
  }
  ~Buffer() { PyBuffer_Release(&view_); }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;

  std::span<const std::byte> bytes() const {
    return {static_cast<const std::byte*>(view_.buf), static_cast<size_t>(view_.len)};
  }

 private:
  Py_buffer view_{};
};

/// The sample that python/halfsafe/_samples.py gives as a list of (name, dtype, shape, buffer).
Sample SampleFrom(std::string name, nb::handle inputs) {
  Sample sample{std::move(name), {}};
  for (const nb::handle entry : inputs) {
    const auto fields = nb::cast<nb::tuple>(entry);
    const Buffer buffer(fields[3]);
    NamedArray& input = sample.inputs.emplace_back();
    input.name = nb::cast<std::string>(fields[0]);
    input.array.dtype = DTypeFromName(nb::cast<std::string>(fields[1]));
    input.array.shape = nb::cast<std::vector<int64_t>>(fields[2]);
    input.array.bytes.assign(buffer.bytes().begin(), buffer.bytes().end());
  }
  return sample;
}

std::string NameOf(uint64_t index) { return fmt::format("samples[{}]", index); }

size_t HashOf(const Sample& sample) {
  const std::hash<std::string_view> hash;
  size_t result = 0;
  for (const NamedArray& input : sample.inputs) {
    const Array& array = input.array;
    const std::string head = fmt::format("{} {} {}", input.name, DTypeName(array.dtype), array.shape.size());
    const std::string_view bytes(reinterpret_cast<const char*>(array.bytes.data()), array.bytes.size());
    for (const size_t part : {hash(head), hash(bytes)}) result = result * 31 + part;
    for (const int64_t size : array.shape) result = result * 31 + static_cast<size_t>(size);
  }
  return result;
}

/// A Python sequence whose elements are made when they are asked for. Stages ask more than once, and compare
/// what they got: elements that differ from one time to the next, as randomly augmented ones do, are refused.
class LazySamples : public SampleSource {
 public:
  LazySamples(nb::object read, uint64_t size) : read_(std::move(read)), size_(size) {}

  uint64_t size() const override { return size_; }
  std::string Name(uint64_t index) const override { return NameOf(index); }
  Sample Read(uint64_t index) const override {
    Sample sample = Fetch(index);
    const size_t hash = HashOf(sample);
    const std::lock_guard<std::mutex> lock(mutex_);
    if (seen_.emplace(index, hash).first->second != hash) {
      throw BadInput(
          fmt::format("{} is not what it was when it was read before; samples that are made anew "
                      "each time have to be kept: give a list or a generator of them",
                      sample.name));
    }
    return sample;
  }

 private:
  Sample Fetch(uint64_t index) const {
    const nb::gil_scoped_acquire gil;
    return SampleFrom(NameOf(index), read_(index));
  }

  nb::object read_;
  uint64_t size_;
  mutable std::mutex mutex_;
  mutable std::unordered_map<uint64_t, size_t> seen_;  ///< Hashes of samples that were read.
};

}  // namespace

void BindSamples(nb::module_& module) {
  nb::class_<Samples>(module, "Samples", "Samples that are ready to be read.")
      .def("__len__", [](const Samples& samples) { return samples.source->size(); });
  module.def(
      "open_samples",
      [](const std::vector<std::filesystem::path>& paths, const LoadedModel& model, bool leading_axis) {
        const nb::gil_scoped_release release;
        return Samples{OpenSamples(paths, model.model->Inputs(), {leading_axis})};
      },
      "paths"_a, "model"_a, "leading_axis"_a);
  module.def(
      "random_samples",
      [](const LoadedModel& model, uint64_t count,
         const std::map<std::string, std::vector<int64_t>>& shapes) {
        std::vector<InputSpec> inputs = model.model->Inputs();
        for (const auto& [name, shape] : shapes) GiveShape(name, shape, &inputs);
        return Samples{RandomSamples(count, inputs)};
      },
      "model"_a, "count"_a, "shapes"_a);
  module.def(
      "lazy_samples",
      [](nb::object read, uint64_t size) {
        return Samples{std::make_shared<LazySamples>(std::move(read), size)};
      },
      "read"_a, "size"_a);
  module.def(
      "spooled_samples",
      [](const nb::iterable& samples) {
        auto spool = std::make_shared<SpooledSamples>();
        for (const nb::handle sample : samples) spool->Add(SampleFrom(NameOf(spool->size()), sample));
        return Samples{std::move(spool)};
      },
      "samples"_a);
}

}  // namespace halfsafe::python
