#include <fmt/format.h>

#include <mutex>
#include <optional>
#include <utility>

#include "data/array.h"
#include "data/npz.h"
#include "halfsafe/error.h"
#include "halfsafe/progress.h"

namespace halfsafe {
namespace {

/// A whole .npz as one sample.
class OneSample : public SampleSource {
 public:
  OneSample(std::filesystem::path path, std::string label)
      : path_(std::move(path)), label_(std::move(label)) {}

  uint64_t size() const override { return 1; }
  std::string Name(uint64_t /*index*/) const override { return label_; }

  Sample Read(uint64_t /*index*/) const override {
    const NpzFile file(path_);
    Sample sample{label_, {}};
    for (size_t i = 0; i < file.names().size(); ++i) {
      ThrowIfInterrupted();
      sample.inputs.push_back({file.names()[i], file.Read(i)});
    }
    return sample;
  }

 private:
  std::filesystem::path path_;
  std::string label_;
};

/// One array of a .npz, read row by row along its first axis. Going forward never unpacks a byte twice.
class RowReader {
 public:
  RowReader(const NpzFile& file, size_t index) : file_(file), index_(index) {}

  Array Row(uint64_t row, uint64_t rows) {
    if (!stream_ || row < next_) Rewind();
    const NpyHeader& header = stream_->header();
    const size_t size = header.payload_size / rows;
    std::vector<int64_t> shape = header.shape;
    shape[0] = 1;
    // In Fortran order a row is scattered over the whole array.
    if (header.fortran_order && shape.size() > 1) {
      if (!whole_) whole_ = file_.Read(index_);
      const auto begin = whole_->bytes.begin() + static_cast<ptrdiff_t>(row * size);
      return {header.dtype, std::move(shape), {begin, begin + static_cast<ptrdiff_t>(size)}};
    }
    stream_->Skip(static_cast<size_t>(row - next_) * size);
    std::vector<std::byte> bytes = stream_->Read(size);
    next_ = row + 1;
    if (next_ == rows) stream_->Finish();
    NpyHeader row_header = header;
    row_header.shape = std::move(shape);
    row_header.payload_size = size;
    return DecodeNpyPayload(row_header, std::move(bytes));
  }

 private:
  void Rewind() {
    stream_.emplace(file_.Open(index_));
    next_ = 0;
  }

  const NpzFile& file_;
  size_t index_;
  std::optional<NpzFile::Stream> stream_;
  std::optional<Array> whole_;  ///< Only for Fortran order.
  uint64_t next_ = 0;           ///< The row that the stream comes to next.
};

/// A .npz whose arrays hold one sample per index of their first axis.
class RowSamples : public SampleSource {
 public:
  RowSamples(const std::filesystem::path& path, std::string label) : label_(std::move(label)), file_(path) {
    for (size_t i = 0; i < file_.names().size(); ++i) {
      const std::string& name = file_.names()[i];
      const NpyHeader header = file_.Open(i).header();
      if (header.shape.empty()) {
        throw BadInput(
            fmt::format("{}: array '{}' is a scalar, expected samples along a first axis", label_, name));
      }
      const auto rows = static_cast<uint64_t>(header.shape[0]);
      if (i == 0) rows_ = rows;
      if (rows != rows_) {
        throw BadInput(
            fmt::format("{}: array '{}' holds {} samples along its first axis, array '{}' holds {}", label_,
                        name, rows, file_.names()[0], rows_));
      }
      // Elements without bytes could claim any number of samples.
      if (header.payload_size == 0) {
        throw BadInput(
            fmt::format("{}: array '{}' of shape {} is empty", label_, name, ShapeText(header.shape)));
      }
      readers_.emplace_back(file_, i);
    }
  }

  uint64_t size() const override { return rows_; }
  std::string Name(uint64_t index) const override { return fmt::format("{}[{}]", label_, index); }

  Sample Read(uint64_t index) const override {
    const std::lock_guard lock(mutex_);
    Sample sample{Name(index), {}};
    for (size_t i = 0; i < readers_.size(); ++i) {
      ThrowIfInterrupted();
      sample.inputs.push_back({file_.names()[i], readers_[i].Row(index, rows_)});
    }
    return sample;
  }

 private:
  std::string label_;
  NpzFile file_;
  uint64_t rows_ = 0;
  mutable std::mutex mutex_;                ///< Guards `readers_`, and the zip they share.
  mutable std::vector<RowReader> readers_;  ///< One an array.
};

}  // namespace

std::unique_ptr<SampleSource> OpenNpzSamples(const std::filesystem::path& path, const std::string& label,
                                             bool leading_axis) {
  if (leading_axis) return std::make_unique<RowSamples>(path, label);
  return std::make_unique<OneSample>(path, label);
}

}  // namespace halfsafe
