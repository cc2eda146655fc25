#include "base/file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <openssl/evp.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <climits>
#include <cstring>
#include <utility>

#include "halfsafe/error.h"

namespace halfsafe {
namespace {

Error SystemError(std::string_view doing, const std::filesystem::path& path) {
  return BadInput(fmt::format("cannot {} {}: {}", doing, path.string(), std::strerror(errno)));
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

}  // namespace

MappedFile::MappedFile(const std::filesystem::path& path, std::string_view what)
    : MappedFile(OpenRegular(path, what), path, what) {}

MappedFile::MappedFile(const OpenedFile& file, const std::filesystem::path& path, std::string_view what)
    : path_(path), size_(file.size()) {
  if (size_ == 0) return;
  void* mapped = mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, file.fd(), 0);
  if (mapped == MAP_FAILED) throw SystemError(fmt::format("map {}", what), path);
  data_ = static_cast<const std::byte*>(mapped);
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) munmap(const_cast<std::byte*>(data_), size_);
}

void MappedFile::Forget(std::span<const std::byte> part) const {
  static const auto kPage = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  if (part.empty()) return;
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
    fd_ = open(path.c_str(), O_WRONLY | O_CLOEXEC);
    if (fd_ < 0) throw SystemError("write", path);
    return;
  }
  // A symbolic link is followed, so that the rename replaces the file it points to.
  std::error_code error;
  for (int links = 0; std::filesystem::is_symlink(path_, error) && links < 40; ++links) {
    path_ = path_.parent_path() / std::filesystem::read_symlink(path_, error);
  }
  std::string name = path_.string() + ".XXXXXX";
  fd_ = mkostemp(name.data(), O_CLOEXEC);
  if (fd_ < 0) throw SystemError("write", path_);
  temporary_ = name;
}

AtomicFile::~AtomicFile() {
  if (fd_ >= 0) close(fd_);
  if (!temporary_.empty()) unlink(temporary_.c_str());
}

void AtomicFile::Write(const void* data, size_t size) {
  WriteAll(fd_, data, size, path_);
  size_ += size;
}

void AtomicFile::Commit() {
  // mkostemp makes the file private; an output gets the permissions that the user's umask asks for.
  const mode_t mask = umask(0);
  umask(mask);
  if (!temporary_.empty() && fchmod(fd_, 0666 & ~mask) != 0) throw SystemError("write", path_);
  // Some file systems report a full disk only here.
  const int closed = close(fd_);
  fd_ = -1;
  if (closed != 0) throw SystemError("write", path_);
  if (temporary_.empty()) return;
  if (rename(temporary_.c_str(), path_.c_str()) != 0) throw SystemError("write", path_);
  temporary_.clear();
}

ScratchFile::ScratchFile() {
  std::error_code error;
  folder_ = std::filesystem::temp_directory_path(error);
  if (error) {
    throw BadInput(fmt::format(
        "no folder for temporary files: {}; let TMPDIR name one that can be written to", error.message()));
  }
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
  while (!bytes.empty()) {
    const ssize_t got = pread(fd_, bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) throw SystemError("read a temporary file in", folder_);
    if (got == 0) throw BadInput(fmt::format("a temporary file in {} became shorter", folder_.string()));
    bytes = bytes.subspan(static_cast<size_t>(got));
    offset += static_cast<uint64_t>(got);
  }
}

void RequireWritable(const std::filesystem::path& path) {
  if (!path.empty()) AtomicFile{path};
}

void WriteFileAtomically(const std::filesystem::path& path, std::string_view text) {
  AtomicFile file(path);
  file.Write(text);
  file.Commit();
}

std::string Sha256Hex(std::span<const std::byte> bytes) {
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
  unsigned int length = 0;
  if (EVP_Digest(bytes.data(), bytes.size(), digest.data(), &length, EVP_sha256(), nullptr) != 1) {
    throw Error(ExitCode::kInternal, "SHA-256 failed");
  }
  std::string hex;
  for (unsigned int i = 0; i < length; ++i) hex += fmt::format("{:02x}", digest[i]);
  return hex;
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
