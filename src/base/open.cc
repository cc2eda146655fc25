#include "base/open.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <iterator>

#include "halfsafe/error.h"

namespace halfsafe {
namespace {

namespace fs = std::filesystem;

/// A pipe is opened without waiting for a writer, and no terminal becomes the process's own. What it is shows
/// only once it is open.
constexpr int kReading = O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY;
/// Enough to look further from there.
constexpr int kFolder = O_PATH | O_DIRECTORY | O_CLOEXEC;

constexpr char kWayOut[] =
    "copy the model's folder with 'cp -rL', which copies what links point to, and use the copy";

/// What open returned, closed with the object unless it is taken.
class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  ~Descriptor() { Close(); }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;

  bool ok() const { return fd_ >= 0; }
  int get() const { return fd_; }
  int Take() { return std::exchange(fd_, -1); }
  void Reset(int fd) {
    Close();
    fd_ = fd;
  }

 private:
  void Close() const {
    if (fd_ >= 0) close(fd_);
  }
  int fd_;
};

void OpenFolder(const fs::path& folder, const fs::path& location, Descriptor* opened) {
  opened->Reset(open(folder.c_str(), kFolder));
  if (opened->ok()) return;
  throw BadInput(fmt::format("{} cannot be opened: {}", (folder / location).string(), std::strerror(errno)));
}

struct stat StatusOf(const Descriptor& file, const fs::path& path) {
  struct stat status {};
  if (fstat(file.get(), &status) != 0)
    throw BadInput(fmt::format("{} cannot be opened: {}", path.string(), std::strerror(errno)));
  return status;
}

/// What can be said without a look at the file system.
fs::path Checked(const std::string& location) {
  if (location.empty()) throw BadInput("it has no location");
  if (location.find('\0') != std::string::npos) throw BadInput("its location holds a zero byte");
  const fs::path path(location);
  if (path.is_absolute())
    throw BadInput(fmt::format("'{}' is an absolute path, expected one inside the model's folder", location));
  if (std::find(path.begin(), path.end(), "..") != path.end())
    throw BadInput(fmt::format("'{}' leads out of the model's folder", location));
  return path;
}

Error Refusal(const fs::path& path, int error) {
  if (error == EXDEV) {
    return BadInput(
        fmt::format("{} is a link out of the model's folder, and a model may name nothing outside of it: {}",
                    path.string(), kWayOut));
  }
  if (error == ELOOP)
    return BadInput(fmt::format("{} is a link that is not followed: {}", path.string(), kWayOut));
  return BadInput(fmt::format("{} cannot be opened: {}", path.string(), std::strerror(error)));
}

/// A file that was opened inside of a folder, if it is nowhere else.
OpenedFile OnlyInside(Descriptor* file, const fs::path& path) {
  const struct stat status = StatusOf(*file, path);
  if (!S_ISREG(status.st_mode)) throw BadInput(fmt::format("{} is not a regular file", path.string()));
  if (status.st_nlink > 1) {
    throw BadInput(fmt::format(
        "{} has {} names (hard links), so it may be a file from outside of the model's folder: {}",
        path.string(), status.st_nlink, kWayOut));
  }
  return {file->Take(), static_cast<size_t>(status.st_size)};
}

}  // namespace

OpenedFile::~OpenedFile() {
  if (fd_ >= 0) close(fd_);
}

OpenedFile OpenRegular(const fs::path& path, std::string_view what) {
  Descriptor file(open(path.c_str(), kReading));
  if (!file.ok())
    throw BadInput(fmt::format("cannot open {} {}: {}", what, path.string(), std::strerror(errno)));
  const struct stat status = StatusOf(file, path);
  if (!S_ISREG(status.st_mode))
    throw BadInput(fmt::format("cannot read {} {}: not a regular file", what, path.string()));
  return {file.Take(), static_cast<size_t>(status.st_size)};
}

OpenedFile OpenInside(const fs::path& folder, const std::string& location) {
  const fs::path path = Checked(location);
  Descriptor inside(-1), file(-1);
  OpenFolder(folder, path, &inside);
  open_how how{};
  how.flags = kReading;
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS;
  do {
    file.Reset(static_cast<int>(syscall(SYS_openat2, inside.get(), path.c_str(), &how, sizeof(how))));
  } while (!file.ok() && errno == EAGAIN);  // Something was renamed meanwhile.
  // Filters of containers that don't know the call yet say EPERM.
  if (!file.ok() && (errno == ENOSYS || errno == EPERM)) return OpenInsideByParts(folder, location);
  if (!file.ok()) throw Refusal(folder / path, errno);
  return OnlyInside(&file, folder / path);
}

OpenedFile OpenInsideByParts(const fs::path& folder, const std::string& location) {
  const fs::path path = Checked(location);
  Descriptor at(-1);
  OpenFolder(folder, path, &at);
  for (auto part = path.begin(); part != path.end(); ++part) {
    const bool last = std::next(part) == path.end();
    at.Reset(openat(at.get(), part->empty() ? "." : part->c_str(), O_NOFOLLOW | (last ? kReading : kFolder)));
    // With O_NOFOLLOW, a link in place of a folder counts as no folder.
    if (!at.ok()) throw Refusal(folder / path, !last && errno == ENOTDIR ? ELOOP : errno);
  }
  return OnlyInside(&at, folder / path);
}

}  // namespace halfsafe
