#include "data/npz.h"

#include <fmt/format.h>
#include <zip.h>

#include <algorithm>
#include <set>

#include "data/array.h"
#include "halfsafe/error.h"
#include "halfsafe/progress.h"

namespace halfsafe {
namespace {

/// Memory is taken in steps of this size as bytes arrive, so that a promise alone costs nothing.
constexpr size_t kChunk = size_t{64} << 20;
/// Deflate never does better: 258 bytes out of 2 bits.
constexpr uint64_t kMaxDeflateRatio = 1032;

std::string ZipErrorText(int code) {
  zip_error_t error;
  zip_error_init_with_code(&error, code);
  std::string text = zip_error_strerror(&error);
  zip_error_fini(&error);
  return text;
}

/// An error of libzip's: that memory is short is no fault of the file.
Error ZipFailure(int code, const std::string& message) {
  return Error(code == ZIP_ER_MEMORY ? ExitCode::kInternal : ExitCode::kBadInput, message);
}

zip_t* OpenPath(const std::filesystem::path& path) {
  std::error_code error;
  if (!std::filesystem::is_regular_file(path, error)) {
    throw BadInput(fmt::format("cannot read {}: not a regular file", path.string()));
  }
  int code = 0;
  zip_t* archive = zip_open(path.c_str(), ZIP_RDONLY, &code);
  if (archive == nullptr) {
    throw ZipFailure(
        code, fmt::format("{}: not a readable .npz (zip) file: {}", path.string(), ZipErrorText(code)));
  }
  return archive;
}

zip_t* OpenBytes(std::span<const std::byte> bytes, const std::string& where) {
  zip_error_t error;
  zip_error_init(&error);
  zip_source_t* source = zip_source_buffer_create(bytes.data(), bytes.size(), 0, &error);
  zip_t* archive = source == nullptr ? nullptr : zip_open_from_source(source, ZIP_RDONLY, &error);
  if (archive == nullptr) {
    if (source != nullptr) zip_source_free(source);
    const std::string text = zip_error_strerror(&error);
    const int code = zip_error_code_zip(&error);
    zip_error_fini(&error);
    throw ZipFailure(code, fmt::format("{}: not a readable .npz (zip) payload: {}", where, text));
  }
  return archive;
}

}  // namespace

NpzFile::NpzFile(const std::filesystem::path& path)
    : where_(path.string()), archive_(OpenPath(path), &zip_discard) {
  std::error_code error;
  ListMembers(std::filesystem::file_size(path, error));
}

NpzFile::NpzFile(std::span<const std::byte> bytes, std::string where)
    : where_(std::move(where)), archive_(OpenBytes(bytes, where_), &zip_discard) {
  ListMembers(bytes.size());
}

void NpzFile::ListMembers(uint64_t file_size) {
  constexpr std::string_view kEnding = ".npy";
  const zip_int64_t count = zip_get_num_entries(archive_.get(), 0);
  std::set<std::string_view> seen;
  uint64_t compressed = 0;
  names_.reserve(static_cast<size_t>(std::max<zip_int64_t>(count, 0)));  // `seen` points into it.
  for (zip_uint64_t i = 0; i < static_cast<zip_uint64_t>(count); ++i) {
    zip_stat_t stat;
    if (zip_stat_index(archive_.get(), i, 0, &stat) != 0 || (stat.valid & ZIP_STAT_NAME) == 0) {
      throw BadInput(fmt::format("{}: member {} has no readable entry", where_, i));
    }
    // Members that share their bytes make a small file unpack without end.
    if (__builtin_add_overflow(compressed, stat.comp_size, &compressed) || compressed > file_size) {
      throw BadInput(fmt::format("{}: its members claim more bytes than the file's {}", where_, file_size));
    }
    const std::string_view name = stat.name;
    if (!name.ends_with(kEnding)) continue;
    names_.emplace_back(name.substr(0, name.size() - kEnding.size()));
    entries_.push_back(i);
    if (!seen.insert(names_.back()).second) {
      throw BadInput(fmt::format("{}: two arrays are named '{}'", where_, names_.back()));
    }
  }
  if (names_.empty()) throw BadInput(fmt::format("{}: holds no array (no .npy member)", where_));
}

NpzFile::Stream NpzFile::Open(size_t index) const {
  return Stream(archive_.get(), entries_.at(index), fmt::format("{}: array '{}'", where_, names_.at(index)));
}

Array NpzFile::Read(size_t index) const {
  Stream stream = Open(index);
  std::vector<std::byte> payload = stream.Read(stream.header().payload_size);
  stream.Finish();
  return DecodeNpyPayload(stream.header(), std::move(payload));
}

NpzFile::Stream::Stream(zip* archive, size_t entry, std::string where)
    : file_(nullptr, &zip_fclose), where_(std::move(where)) {
  zip_stat_t stat;
  if (zip_stat_index(archive, entry, 0, &stat) == 0) file_.reset(zip_fopen_index(archive, entry, 0));
  if (file_ == nullptr) {
    throw ZipFailure(zip_error_code_zip(zip_get_error(archive)),
                     fmt::format("{}: cannot be read: {}", where_, zip_strerror(archive)));
  }
  left_ = stat.size;
  if (left_ / kMaxDeflateRatio > stat.comp_size) {
    throw BadInput(
        fmt::format("{}: {} bytes cannot come out of {} compressed ones", where_, stat.size, stat.comp_size));
  }

  std::string text(kNpyPrefix, '\0');
  text.resize(ReadSome(text.data(), text.size()));
  const size_t size = NpyHeaderSize(text, where_);
  const size_t have = std::min(text.size(), size);
  if (have < text.size()) throw BadInput(fmt::format("{}: the .npy header is too short", where_));
  text.resize(size);
  text.resize(have + ReadSome(text.data() + have, size - have));
  header_ = ParseNpyHeader(text, where_);
  if (header_.payload_size > left_) {
    throw BadInput(fmt::format("{}: {} of shape {} needs {} bytes, found {}", where_,
                               DTypeName(header_.dtype), ShapeText(header_.shape), header_.payload_size,
                               left_));
  }
}

size_t NpzFile::Stream::ReadSome(void* data, size_t size) {
  size_t done = 0;
  while (done < size) {
    ThrowIfInterrupted();
    const size_t piece = std::min(size - done, size_t{16} << 20);
    const zip_int64_t read = zip_fread(file_.get(), static_cast<char*>(data) + done, piece);
    if (read < 0) {
      throw ZipFailure(zip_error_code_zip(zip_file_get_error(file_.get())),
                       fmt::format("{}: cannot be unpacked: {}", where_, zip_file_strerror(file_.get())));
    }
    if (read == 0) break;
    done += static_cast<size_t>(read);
    if (static_cast<uint64_t>(read) > left_)
      throw BadInput(fmt::format("{}: longer than the zip says", where_));
    left_ -= static_cast<uint64_t>(read);
  }
  return done;
}

std::vector<std::byte> NpzFile::Stream::Read(size_t size) {
  std::vector<std::byte> bytes;
  while (bytes.size() < size) {
    const size_t have = bytes.size();
    const size_t want = std::min(size, std::max(kChunk, 2 * have));
    bytes.reserve(want);
    bytes.resize(want);
    const size_t read = ReadSome(bytes.data() + have, want - have);
    if (read < want - have) {
      throw BadInput(fmt::format("{}: ends after {} of {} bytes", where_, have + read, size));
    }
  }
  return bytes;
}

void NpzFile::Stream::Skip(size_t size) {
  std::vector<std::byte> buffer(std::min(size, size_t{1} << 20));
  while (size > 0) {
    const size_t piece = std::min(size, buffer.size());
    if (ReadSome(buffer.data(), piece) < piece) {
      throw BadInput(fmt::format("{}: ends {} bytes too early", where_, size));
    }
    size -= piece;
  }
}

void NpzFile::Stream::Finish() {
  std::vector<std::byte> buffer(size_t{1} << 16);
  while (ReadSome(buffer.data(), buffer.size()) > 0) {
  }
}

void WriteNpz(const std::filesystem::path& path, const std::vector<NamedArray>& arrays) {
  int code = 0;
  std::unique_ptr<zip_t, void (*)(zip_t*)> archive(zip_open(path.c_str(), ZIP_CREATE | ZIP_EXCL, &code),
                                                   &zip_discard);
  if (archive == nullptr)
    throw ZipFailure(code, fmt::format("cannot write {}: {}", path.string(), ZipErrorText(code)));
  const auto fail = [&] {
    return ZipFailure(zip_error_code_zip(zip_get_error(archive.get())),
                      fmt::format("cannot write {}: {}", path.string(), zip_strerror(archive.get())));
  };
  std::vector<std::string> headers;
  headers.reserve(arrays.size());  // The zip reads from it when it is closed.
  for (const NamedArray& array : arrays) {
    ThrowIfInterrupted();
    RequireNumpyForm(array);
    if (array.name.find('\0') != std::string::npos) {
      throw BadInput(fmt::format("cannot write {}: an array's name holds a zero byte", path.string()));
    }
    std::string& header = headers.emplace_back(NpyHeaderBytes(array.array));
    zip_buffer_fragment_t parts[2] = {
        {reinterpret_cast<zip_uint8_t*>(header.data()), header.size()},
        {reinterpret_cast<zip_uint8_t*>(const_cast<std::byte*>(array.array.bytes.data())),
         array.array.bytes.size()}};
    const zip_uint64_t used = array.array.bytes.empty() ? 1 : 2;
    zip_source_t* source = zip_source_buffer_fragment(archive.get(), parts, used, 0);
    if (source == nullptr) throw fail();
    const zip_int64_t entry =
        zip_file_add(archive.get(), (array.name + ".npy").c_str(), source, ZIP_FL_ENC_UTF_8);
    if (entry < 0) {
      zip_source_free(source);
      throw fail();
    }
    const auto index = static_cast<zip_uint64_t>(entry);
    zip_set_file_compression(archive.get(), index, ZIP_CM_STORE, 0);
    zip_file_set_dostime(archive.get(), index, 0, 0x21,
                         0);  // 1980-01-01: the same samples make the same file.
  }
  if (zip_close(archive.get()) != 0) throw fail();
  archive.release();
}

}  // namespace halfsafe
