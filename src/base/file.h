#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "base/open.h"
#include "base/temporary.h"

struct SHA256state_st;  // OpenSSL's.

namespace halfsafe {

/// A file's bytes, for as long as the object lives: read where they are few, else mapped read-only. What is
/// mapped must not become shorter: touching bytes that are gone raises SIGBUS (see MappedFileAt).
class MappedFile {
 public:
  /// Throws BadInput when `path` is not a readable regular file. `what` names the file's role in messages.
  MappedFile(const std::filesystem::path& path, std::string_view what);
  /// The same of a file that is open already; `path` is only for messages.
  MappedFile(const OpenedFile& file, const std::filesystem::path& path, std::string_view what);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  std::span<const std::byte> bytes() const { return {data_, size_}; }
  std::string_view text() const { return {reinterpret_cast<const char*>(data_), size_}; }
  const std::filesystem::path& path() const { return path_; }
  /// Gives the memory behind `part` of the bytes back: touched again, they are read from the file again.
  void Forget(std::span<const std::byte> part) const;

 private:
  std::filesystem::path path_;
  const std::byte* data_ = nullptr;
  size_t size_ = 0;
  bool mapped_ = false;  ///< Else `data_` is of `new`.
};

/// The file that is mapped at `address`, as a signal handler's thread finds it there; empty where none is.
std::filesystem::path MappedFileAt(const void* address);

/// Reads `size` bytes of a file from `begin` on. Throws BadInput, which names the file's role, when it can't
/// be read or is shorter.
std::string ReadPart(const std::filesystem::path& path, std::string_view what, uint64_t begin, size_t size);

/// Writes a file that appears under its name only when it is whole: bytes go to a file without a name on the
/// same file system, which `Commit` gives its name, and which is gone without, however the process ends.
/// Where the file system has no such files, it has a temporary name in the same folder (temporary.h). A
/// target that is not a regular file (/dev/null, a pipe) is written directly.
class AtomicFile {
 public:
  /// Throws BadInput when the folder is missing or not writable.
  explicit AtomicFile(const std::filesystem::path& path);
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  /// Appends `size` bytes. Throws BadInput when the disk is full.
  void Write(const void* data, size_t size);
  void Write(std::string_view text) { Write(text.data(), text.size()); }
  /// Bytes written so far.
  uint64_t size() const { return size_; }
  /// Waits until the bytes are on the disk, so that not even a power cut leaves an empty file in place of an
  /// older one. It takes as long as the disk does.
  void Sync();
  /// Makes the file appear under its name. Throws BadInput when that fails.
  void Commit();
  /// The same under another name in the same folder, known only now.
  void CommitAs(const std::filesystem::path& path);

 private:
  std::filesystem::path path_;
  Temporary temporary_;  ///< Of nothing while the file has no name, or is written directly.
  int fd_ = -1;          ///< Closed by this object unless it is the temporary's.
  bool direct_ = false;  ///< The target is no regular file.
  uint64_t size_ = 0;
};

/// A private file without a name, in the folder for temporary files (TMPDIR), which goes with the object.
class ScratchFile {
 public:
  /// Throws BadInput where the folder can't be written to.
  ScratchFile();
  ~ScratchFile();
  ScratchFile(const ScratchFile&) = delete;
  ScratchFile& operator=(const ScratchFile&) = delete;

  /// Appends `bytes` and returns where they begin. Throws BadInput when the disk is full.
  uint64_t Append(std::span<const std::byte> bytes);
  /// Reads `bytes.size()` bytes that were appended.
  void Read(uint64_t offset, std::span<std::byte> bytes) const;

 private:
  std::filesystem::path folder_;
  int fd_ = -1;
  uint64_t size_ = 0;
};

/// Throws BadInput unless a file could be written at `path`; leaves nothing behind. An empty path is fine.
void RequireWritable(const std::filesystem::path& path);

/// Writes `text` to `path` through an AtomicFile.
void WriteFileAtomically(const std::filesystem::path& path, std::string_view text);

/// SHA-256 of bytes that come piece by piece.
class Sha256 {
 public:
  Sha256();
  void Add(std::span<const std::byte> bytes);
  /// Of all bytes, in lower-case hex. Nothing can be added afterwards.
  std::string Hex();

 private:
  std::unique_ptr<SHA256state_st, void (*)(SHA256state_st*)> state_;
};

/// Lower-case hex SHA-256 of `bytes`.
std::string Sha256Hex(std::span<const std::byte> bytes);

/// Standard base64 with padding, no line breaks.
std::string Base64Encode(std::span<const std::byte> bytes);

/// Decodes standard base64 with padding; line breaks are allowed. Throws BadInput that begins with `where`.
std::string Base64Decode(std::string_view text, std::string_view where);

}  // namespace halfsafe
