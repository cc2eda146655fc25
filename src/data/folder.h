#pragma once

#include <filesystem>
#include <string_view>
#include <vector>

#include "base/temporary.h"

namespace halfsafe {

/// Orders names as people do: "2" before "10".
bool NaturalLess(std::string_view a, std::string_view b);

/// The entries' names in natural order, without hidden ones. Throws BadInput when the folder can't be read,
/// or an AtomicFolder is not done with it.
std::vector<std::filesystem::path> ListFolder(const std::filesystem::path& folder);

/// Makes a folder and those above it where they are missing, and removes those of them that are empty in the
/// end.
class MissingFolders {
 public:
  explicit MissingFolders(const std::filesystem::path& path);
  ~MissingFolders() { Remove(); }
  MissingFolders(const MissingFolders&) = delete;
  MissingFolders& operator=(const MissingFolders&) = delete;

 private:
  void Remove();

  std::vector<std::filesystem::path> made_;  ///< Outermost first.
};

/// Writes a folder whose files appear only when all of them are whole: they are made in a temporary folder
/// (base/temporary.h), and `Commit` puts them in place. Without `Commit` nothing is left.
class AtomicFolder {
 public:
  /// `path` may be missing, or an empty folder. Throws BadInput when it is anything else, or not writable.
  explicit AtomicFolder(const std::filesystem::path& path);
  AtomicFolder(const AtomicFolder&) = delete;
  AtomicFolder& operator=(const AtomicFolder&) = delete;

  /// Where to make the files.
  const std::filesystem::path& temporary() const { return temporary_.path(); }
  void Commit();

 private:
  bool MoveFiles();

  std::filesystem::path path_;
  Temporary temporary_;
  bool exists_ = false;  ///< `path_` was there, so its files move in one by one: it may be a mount point.
};

}  // namespace halfsafe
