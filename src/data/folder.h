#pragma once

#include <filesystem>
#include <string_view>
#include <vector>

namespace halfsafe {

/// Orders names as people do: "2" before "10".
bool NaturalLess(std::string_view a, std::string_view b);

/// The entries' names in natural order, without hidden ones. Throws BadInput when the folder can't be read.
std::vector<std::filesystem::path> ListFolder(const std::filesystem::path& folder);

/// Writes a folder whose files appear only when all of them are whole: they are made in a private temporary
/// folder, and `Commit` puts them in place. Without `Commit` nothing is left.
class AtomicFolder {
 public:
  /// `path` may be missing, or an empty folder. Throws BadInput when it is anything else, or not writable.
  explicit AtomicFolder(const std::filesystem::path& path);
  ~AtomicFolder();
  AtomicFolder(const AtomicFolder&) = delete;
  AtomicFolder& operator=(const AtomicFolder&) = delete;

  /// Where to make the files.
  const std::filesystem::path& temporary() const { return temporary_; }
  void Commit();

 private:
  std::filesystem::path path_;
  std::filesystem::path temporary_;
  bool exists_ = false;  ///< `path_` was there, so its files move in one by one: it may be a mount point.
  bool done_ = false;
};

}  // namespace halfsafe
