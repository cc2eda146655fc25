#pragma once

#include <filesystem>
#include <functional>

namespace halfsafe {

/// A file or folder under a temporary name beside the place that it is meant for: "PLACE.halfsafe-0", or with
/// a higher number where others write to the same place. It is locked (flock) for as long as its owner lives,
/// which is how the next that writes there knows what is left of a process that was killed, and removes it.
class Temporary {
 public:
  /// Makes a file, empty and open for writing.
  static Temporary File(const std::filesystem::path& place);
  /// Makes an empty folder.
  static Temporary Folder(const std::filesystem::path& place);
  /// Gives the unnamed file behind `fd` a name, and takes `fd` over. Of nothing where that fails, as the
  /// others are, with errno.
  static Temporary NameOf(int fd, const std::filesystem::path& place);

  /// Of nothing.
  Temporary() = default;
  /// Removes what is there.
  ~Temporary();
  Temporary(Temporary&& other) noexcept;
  Temporary& operator=(Temporary&& other) noexcept;

  explicit operator bool() const { return !path_.empty(); }
  const std::filesystem::path& path() const { return path_; }
  /// The descriptor of what is there. It is closed with the object.
  int fd() const { return fd_; }
  /// Renames it, replacing what is at `target`; false, with errno, where that fails.
  bool MoveTo(const std::filesystem::path& target);
  /// Removes it, as the destructor does.
  void Remove();

 private:
  Temporary(const std::filesystem::path& place, const std::function<int(const char* name)>& make);
  void Forget();

  std::filesystem::path path_;
  int fd_ = -1;
};

/// Opens a file without a name in `folder`, which goes when it is closed; -1 where its file system has no
/// such files, or no name could be given to it later.
int OpenUnnamed(const std::filesystem::path& folder);

/// Gives the unnamed file behind `fd` the name `path`; false, with errno, where that fails: EEXIST when
/// something is there.
bool NameUnnamed(int fd, const std::filesystem::path& path);

/// Removes temporaries for `place` that no living process owns.
void RemoveStaleTemporaries(const std::filesystem::path& place);

/// Removes all temporaries of this process, which can make no more then: for one that is about to end without
/// destructors. Any thread may call it, but no signal handler.
void AbandonTemporaries();

}  // namespace halfsafe
