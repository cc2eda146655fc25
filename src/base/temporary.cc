#include "base/temporary.h"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstdio>
#include <mutex>
#include <new>
#include <set>
#include <string>
#include <string_view>
#include <utility>

namespace halfsafe {
namespace {

namespace fs = std::filesystem;

/// All of this process. Held while one is made, so that each that is there is in it.
struct Registry {
  std::mutex mutex;
  std::set<fs::path> paths;
};

Registry& All() {
  // Never destroyed, as AbandonTemporaries may run while statics are, and there when memory is short.
  alignas(Registry) static std::byte place[sizeof(Registry)];
  static Registry& registry = *new (place) Registry;
  return registry;
}

fs::path NumberedName(const fs::path& place, int number) {
  // Names may have 255 bytes. Places that share a name's beginning may share temporary names: these are
  // locked.
  constexpr size_t kLongest = 200;
  std::string name = place.filename().string();
  if (name.size() > kLongest) name.resize(kLongest);
  return place.parent_path() / fmt::format("{}.halfsafe-{}", name, number);
}

/// Opens a file or folder so that it can be locked; NFS locks only files that may be written to.
int OpenToLock(const fs::path& path) {
  constexpr int kFlags = O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC;
  const int fd = open(path.c_str(), O_RDWR | kFlags);
  return fd >= 0 || errno != EISDIR ? fd : open(path.c_str(), O_RDONLY | O_DIRECTORY | kFlags);
}

bool Lock(int fd) { return flock(fd, LOCK_EX | LOCK_NB) == 0; }

/// Locks what was just made, unless who looks for stale ones came first.
bool IsOurs(int fd) {
  const bool held = Lock(fd) || errno != EWOULDBLOCK;  // Not every file system has locks.
  struct stat status {};
  return held && fstat(fd, &status) == 0 && status.st_nlink > 0;
}

bool RemoveAll(int folder, const char* name);

/// Removes what is in a folder. Takes no memory, which may be what is short.
void RemoveWhatIsIn(int folder) {
  alignas(dirent64) char buffer[4096];
  for (ssize_t size = getdents64(folder, buffer, sizeof buffer); size > 0;
       size = getdents64(folder, buffer, sizeof buffer)) {
    for (ssize_t at = 0; at < size;) {
      const auto* entry = reinterpret_cast<const dirent64*>(buffer + at);
      const std::string_view name = entry->d_name;
      if (name != "." && name != "..") RemoveAll(folder, entry->d_name);
      at += entry->d_reclen;
    }
  }
}

/// Removes a file, or a folder with what is in it; false where something stays.
bool RemoveAll(int folder, const char* name) {
  if (unlinkat(folder, name, 0) == 0) return true;
  if (errno != EISDIR && errno != EPERM) return errno == ENOENT;
  constexpr int kTries = 100;  // Some file systems pass over entries, and others may still write into it.
  for (int i = 0; i < kTries; ++i) {
    const int inside = openat(folder, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (inside < 0) return false;
    RemoveWhatIsIn(inside);
    close(inside);
    if (unlinkat(folder, name, AT_REMOVEDIR) == 0) return true;
    if (errno != ENOTEMPTY && errno != EEXIST) return false;
  }
  return false;
}

bool RemoveAll(const fs::path& path) { return RemoveAll(AT_FDCWD, path.c_str()); }

/// Whether something is there that stays: a living process's, or what can't be told.
bool Stays(const fs::path& path) {
  struct stat status {};
  if (lstat(path.c_str(), &status) != 0) return false;
  if (!S_ISREG(status.st_mode) && !S_ISDIR(status.st_mode)) return true;
  const int fd = OpenToLock(path);
  if (fd < 0) return errno != ENOENT;
  // Locked until it is gone: who made it and has no lock yet finds out (IsOurs).
  const bool removed = Lock(fd) && RemoveAll(path);
  close(fd);
  return !removed;
}

}  // namespace

void RemoveStaleTemporaries(const fs::path& place) {
  struct stat status {};
  for (int number = 0; lstat(NumberedName(place, number).c_str(), &status) == 0; ++number)
    Stays(NumberedName(place, number));
}

Temporary::Temporary(const fs::path& place, const std::function<int(const char* name)>& make) {
  Registry& all = All();
  const std::lock_guard lock(all.mutex);
  constexpr int kMost = 1000;  // Nobody has so many runs write to one place.
  for (int number = 0; number < kMost; ++number) {
    path_ = NumberedName(place, number);
    if (Stays(path_)) continue;
    const auto entry = all.paths.insert(path_).first;  // Before, because memory may be short.
    fd_ = make(path_.c_str());
    if (fd_ >= 0 && IsOurs(fd_)) return;
    const int reason = errno;
    all.paths.erase(entry);
    if (fd_ >= 0) {
      close(std::exchange(fd_, -1));
    } else if (reason != EEXIST) {
      path_.clear();
      errno = reason;
      return;
    }
  }
  path_.clear();
  errno = EEXIST;
}

Temporary Temporary::File(const fs::path& place) {
  return {place, [](const char* name) { return open(name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666); }};
}

Temporary Temporary::Folder(const fs::path& place) {
  return {place, [](const char* name) {
            if (mkdir(name, 0777) != 0) return -1;
            const int fd = open(name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
            if (fd < 0) rmdir(name);
            return fd;
          }};
}

Temporary Temporary::NameOf(int fd, const fs::path& place) {
  return {place, [fd](const char* name) { return NameUnnamed(fd, name) ? fd : -1; }};
}

Temporary::~Temporary() { Remove(); }

Temporary::Temporary(Temporary&& other) noexcept
    : path_(std::exchange(other.path_, {})), fd_(std::exchange(other.fd_, -1)) {}

Temporary& Temporary::operator=(Temporary&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(fd_, other.fd_);
  return *this;
}

bool Temporary::MoveTo(const fs::path& target) {
  Registry& all = All();
  const std::lock_guard lock(all.mutex);
  if (rename(path_.c_str(), target.c_str()) != 0) return false;
  Forget();
  return true;
}

void Temporary::Remove() {
  if (path_.empty()) return;
  const std::lock_guard lock(All().mutex);
  RemoveAll(path_);
  Forget();
}

void Temporary::Forget() {
  All().paths.erase(path_);
  path_.clear();
  close(std::exchange(fd_, -1));
}

int OpenUnnamed(const fs::path& folder) {
  if (access("/proc/self/fd", X_OK) != 0) return -1;
  const fs::path where = folder.empty() ? fs::path(".") : folder;
  const int fd = open(where.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0666);
  if (fd >= 0) Lock(fd);
  return fd;
}

bool NameUnnamed(int fd, const fs::path& path) {
  char name[32];
  std::snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
  return linkat(AT_FDCWD, name, AT_FDCWD, path.c_str(), AT_SYMLINK_FOLLOW) == 0;
}

void AbandonTemporaries() {
  Registry& all = All();
  all.mutex.lock();            // For good.
  constexpr int kTries = 100;  // Others may still write into a folder.
  for (const fs::path& path : all.paths) {
    for (int i = 0; i < kTries && !RemoveAll(path); ++i) continue;
  }
}

}  // namespace halfsafe
