// Digests by their own functions, which are deprecated, not by EVP's: those look for an implementation in
// tables that OpenSSL makes when first asked, and end the process where memory for these is short.
#define OPENSSL_SUPPRESS_DEPRECATED

#include "base/file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <openssl/evp.h>
#include <openssl/sha.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <climits>
#include <cstring>
#include <iterator>
#include <map>
#include <mutex>
#include <new>
#include <utility>

#include "halfsafe/error.h"

namespace halfsafe {
namespace {

/// What `errno` says; that memory is short is no fault of the file.
Error SystemError(std::string_view doing, const std::filesystem::path& path) {
  return Error(errno == ENOMEM ? ExitCode::kInternal : ExitCode::kBadInput,
               fmt::format("cannot {} {}: {}", doing, path.string(), std::strerror(errno)));
}

void WriteAll(int fd, const void* data, size_t size, const std::filesystem::path& path) {
  const char* next = static_cast<const char*>(data);
  while (size > 0) {
    const ssize_t written = write(fd, next, std::min<size_t>(size, size_t{1} << 30));
    if (written < 0) {
      if (errno == EINTR) continue;
      throw SystemError("write", path);
    }
    next += written;
    size -= static_cast<size_t>(written);
  }
}

Error BecameShorter(const std::filesystem::path& path) {
  return BadInput(fmt::format("{} became shorter while it was read", path.string()));
}

void ReadAll(int fd, uint64_t offset, std::span<std::byte> bytes, const std::filesystem::path& path) {
  while (!bytes.empty()) {
    const ssize_t got = pread(fd, bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) throw SystemError("read", path);
    if (got == 0) throw BecameShorter(path);
    bytes = bytes.subspan(static_cast<size_t>(got));
    offset += static_cast<uint64_t>(got);
  }
}

/// Files up to this size are read: whatever happens to them then is an error like others.
constexpr size_t kFew = size_t{4} << 20;

/// What is read lies as the widest vectors like it.
constexpr std::align_val_t kAlign{64};
struct AlignedDelete {
  void operator()(std::byte* bytes) const { ::operator delete[](bytes, kAlign); }
};

/// All of this process, by where they begin.
struct Mappings {
  std::mutex mutex;
  std::map<const std::byte*, const MappedFile*> files;
};

Mappings& AllMappings() {
  static Mappings& mappings = *new Mappings;  // Never destroyed: mapped files may live in statics.
  return mappings;
}

}  // namespace

MappedFile::MappedFile(const std::filesystem::path& path, std::string_view what)
    : MappedFile(OpenRegular(path, what), path, what) {}

MappedFile::MappedFile(const OpenedFile& file, const std::filesystem::path& path, std::string_view what)
    : path_(path), size_(file.size()) {
  if (size_ <= kFew) {
    auto bytes = std::unique_ptr<std::byte[], AlignedDelete>(new (kAlign) std::byte[size_]);
    ReadAll(file.fd(), 0, {bytes.get(), size_}, path);
    data_ = bytes.release();
    return;
  }
  Mappings& all = AllMappings();
  const std::lock_guard lock(all.mutex);
  void* mapped = mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, file.fd(), 0);
  if (mapped == MAP_FAILED) throw SystemError(fmt::format("map {}", what), path);
  data_ = static_cast<const std::byte*>(mapped);
  mapped_ = true;
  all.files[data_] = this;
}

MappedFile::~MappedFile() {
  if (!mapped_) {
    AlignedDelete()(const_cast<std::byte*>(data_));
    return;
  }
  Mappings& all = AllMappings();
  const std::lock_guard lock(all.mutex);
  all.files.erase(data_);
  munmap(const_cast<std::byte*>(data_), size_);
}

std::filesystem::path MappedFileAt(const void* address) {
  Mappings& all = AllMappings();
  const std::lock_guard lock(all.mutex);
  const auto* byte = static_cast<const std::byte*>(address);
  auto after = all.files.upper_bound(byte);
  if (after == all.files.begin()) return {};
  const MappedFile& file = *std::prev(after)->second;
  // The last page may end behind the last byte.
  return byte < file.bytes().data() + file.bytes().size() ? file.path() : std::filesystem::path();
}

std::string ReadPart(const std::filesystem::path& path, std::string_view what, uint64_t begin, size_t size) {
  const OpenedFile file = OpenRegular(path, what);
  if (begin > file.size() || size > file.size() - begin) throw BecameShorter(path);
  std::string text(size, '\0');
  ReadAll(file.fd(), begin, std::as_writable_bytes(std::span(text)), path);
  return text;
}

void MappedFile::Forget(std::span<const std::byte> part) const {
  static const auto kPage = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  if (part.empty() || !mapped_) return;
  const size_t before = static_cast<size_t>(part.data() - data_) % kPage;  // Mappings begin with a page.
  // Pages of a private mapping that nobody wrote to are the file's own. Failing costs memory and nothing
  // else.
  madvise(const_cast<std::byte*>(part.data() - before), part.size() + before, MADV_DONTNEED);
}

AtomicFile::AtomicFile(const std::filesystem::path& path) : path_(path) {
  struct stat status {};
  if (stat(path.c_str(), &status) == 0 && !S_ISREG(status.st_mode)) {
    if (S_ISDIR(status.st_mode))
      throw BadInput(fmt::format("cannot write {}: it is a folder", path.string()));
    direct_ = true;
    fd_ = open(path.c_str(), O_WRONLY | O_CLOEXEC);
    if (fd_ < 0) throw SystemError("write", path);
    return;
  }
  // Replacing a file takes no right to write to it, but whoever protected it meant it.
  if (access(path.c_str(), W_OK) != 0 && errno != ENOENT) throw SystemError("write", path);
  // A symbolic link is followed, so that the file that it points to is replaced.
  std::error_code error;
  for (int links = 0; std::filesystem::is_symlink(path_, error) && links < 40; ++links) {
    path_ = path_.parent_path() / std::filesystem::read_symlink(path_, error);
  }
  RemoveStaleTemporaries(path_);
  fd_ = OpenUnnamed(path_.parent_path());
  if (fd_ >= 0) return;
  temporary_ = Temporary::File(path_);
  if (!temporary_) throw SystemError("write", path_);
  fd_ = temporary_.fd();
}

AtomicFile::~AtomicFile() {
  if (fd_ >= 0 && fd_ != temporary_.fd()) close(fd_);
}

void AtomicFile::Write(const void* data, size_t size) {
  WriteAll(fd_, data, size, path_);
  size_ += size;
}

void AtomicFile::Sync() {
  if (!direct_ && fsync(fd_) != 0) throw SystemError("write", path_);
}

void AtomicFile::Commit() {
  // Some file systems report a full disk only when a descriptor is closed. The lock stays with the other one.
  const int other = dup(fd_);
  if (other < 0 || close(other) != 0) throw SystemError("write", path_);
  if (direct_) return;
  if (!temporary_) {
    // Nothing that is there is replaced by a link: this takes a name, and renaming.
    if (NameUnnamed(fd_, path_)) return;
    if (errno != EEXIST) throw SystemError("write", path_);
    temporary_ = Temporary::NameOf(fd_, path_);
    if (!temporary_) throw SystemError("write", path_);
  }
  if (!temporary_.MoveTo(path_)) throw SystemError("write", path_);
  fd_ = -1;
}

void AtomicFile::CommitAs(const std::filesystem::path& path) {
  path_ = path_.parent_path() / path.filename();
  Commit();
}

ScratchFile::ScratchFile() {
  std::error_code error;
  folder_ = std::filesystem::temp_directory_path(error);
  if (error) {
    throw BadInput(fmt::format(
        "no folder for temporary files: {}; let TMPDIR name one that can be written to", error.message()));
  }
  fd_ = OpenUnnamed(folder_);
  if (fd_ >= 0) return;
  std::string name = (folder_ / "halfsafe.XXXXXX").string();
  fd_ = mkostemp(name.data(), O_CLOEXEC);
  if (fd_ < 0) throw SystemError("write a temporary file in", folder_);
  unlink(name.c_str());
}

ScratchFile::~ScratchFile() { close(fd_); }

uint64_t ScratchFile::Append(std::span<const std::byte> bytes) {
  WriteAll(fd_, bytes.data(), bytes.size(), "a temporary file in " + folder_.string());
  return std::exchange(size_, size_ + bytes.size());
}

void ScratchFile::Read(uint64_t offset, std::span<std::byte> bytes) const {
  ReadAll(fd_, offset, bytes, "a temporary file in " + folder_.string());
}

void RequireWritable(const std::filesystem::path& path) {
  if (!path.empty()) AtomicFile{path};
}

void WriteFileAtomically(const std::filesystem::path& path, std::string_view text) {
  AtomicFile file(path);
  file.Write(text);
  file.Commit();
}

Sha256::Sha256() : state_(new SHA256_CTX, [](SHA256_CTX* state) { delete state; }) {
  SHA256_Init(state_.get());
}

void Sha256::Add(std::span<const std::byte> bytes) {
  SHA256_Update(state_.get(), bytes.data(), bytes.size());
}

std::string Sha256::Hex() {
  std::array<unsigned char, SHA256_DIGEST_LENGTH> digest{};
  SHA256_Final(digest.data(), state_.get());
  std::string hex;
  for (const unsigned char byte : digest) hex += fmt::format("{:02x}", byte);
  return hex;
}

std::string Sha256Hex(std::span<const std::byte> bytes) {
  Sha256 sha256;
  sha256.Add(bytes);
  return sha256.Hex();
}

std::string Base64Encode(std::span<const std::byte> bytes) {
  // EVP_EncodeBlock takes an int, so long inputs go in pieces; every piece but the last is a multiple of 3.
  constexpr size_t kPiece = 3u << 20;
  std::string text((bytes.size() + 2) / 3 * 4 + 1, '\0');
  size_t at = 0;
  for (size_t begin = 0; begin < bytes.size(); begin += kPiece) {
    const size_t size = std::min(kPiece, bytes.size() - begin);
    at += static_cast<size_t>(EVP_EncodeBlock(reinterpret_cast<unsigned char*>(text.data() + at),
                                              reinterpret_cast<const unsigned char*>(bytes.data() + begin),
                                              static_cast<int>(size)));
  }
  text.resize(at);
  return text;
}

std::string Base64Decode(std::string_view text, std::string_view where) {
  const std::unique_ptr<EVP_ENCODE_CTX, decltype(&EVP_ENCODE_CTX_free)> context(EVP_ENCODE_CTX_new(),
                                                                                &EVP_ENCODE_CTX_free);
  if (context == nullptr) throw std::bad_alloc();
  EVP_DecodeInit(context.get());
  std::string bytes(text.size() / 4 * 3 + 3, '\0');
  size_t at = 0;
  constexpr size_t kPiece = 4u << 20;
  int length = 0;
  for (size_t begin = 0; begin < text.size(); begin += kPiece) {
    const size_t size = std::min(kPiece, text.size() - begin);
    if (EVP_DecodeUpdate(context.get(), reinterpret_cast<unsigned char*>(bytes.data() + at), &length,
                         reinterpret_cast<const unsigned char*>(text.data() + begin),
                         static_cast<int>(size)) < 0) {
      throw BadInput(fmt::format("{}: not base64", where));
    }
    at += static_cast<size_t>(length);
  }
  if (EVP_DecodeFinal(context.get(), reinterpret_cast<unsigned char*>(bytes.data() + at), &length) < 0) {
    throw BadInput(fmt::format("{}: base64 ends too early", where));
  }
  bytes.resize(at + static_cast<size_t>(length));
  return bytes;
}

}  // namespace halfsafe
