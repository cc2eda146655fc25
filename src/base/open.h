#pragma once

#include <cstddef>
#include <filesystem>
#include <string>
#include <string_view>
#include <utility>

namespace halfsafe {

/// A regular file that is open for reading, and closed with the object.
class OpenedFile {
 public:
  OpenedFile(int fd, size_t size) : fd_(fd), size_(size) {}
  ~OpenedFile();
  OpenedFile(OpenedFile&& other) noexcept : fd_(std::exchange(other.fd_, -1)), size_(other.size_) {}
  OpenedFile& operator=(OpenedFile&&) = delete;

  int fd() const { return fd_; }
  size_t size() const { return size_; }  ///< When it was opened.

 private:
  int fd_;
  size_t size_;
};

/// Opens a regular file at the end of all links. Pipes and devices are refused, without waiting for anybody
/// to write to them. Throws BadInput; `what` names the file's role in messages.
OpenedFile OpenRegular(const std::filesystem::path& path, std::string_view what);

/// Opens the regular file that a stranger calls `location` and that has to lie in `folder`, whatever changes
/// there meanwhile: no absolute path, no "..", no link that leads out of the folder, and no second name of a
/// file that may lie elsewhere (a hard link). Throws BadInput that says why, and what to do about it.
OpenedFile OpenInside(const std::filesystem::path& folder, const std::string& location);

/// The same where the kernel has no openat2 (before Linux 5.6), part of the path by part; follows no link.
OpenedFile OpenInsideByParts(const std::filesystem::path& folder, const std::string& location);

}  // namespace halfsafe
