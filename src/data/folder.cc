#include "data/folder.h"

#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "halfsafe/error.h"
#include "halfsafe/progress.h"

namespace halfsafe {
namespace {

namespace fs = std::filesystem;

bool IsDigit(char c) { return c >= '0' && c <= '9'; }

/// The number that `text` begins with, without leading zeros; moves `text` past it.
std::string_view TakeNumber(std::string_view& text) {
  size_t end = 0;
  while (end < text.size() && IsDigit(text[end])) ++end;
  std::string_view number = text.substr(0, end);
  text.remove_prefix(end);
  while (number.size() > 1 && number[0] == '0') number.remove_prefix(1);
  return number;
}

/// Whether an AtomicFolder is at work in the folder with an entry of this name.
bool IsTemporaryName(const fs::path& name) { return name.native().starts_with(".halfsafe-"); }

}  // namespace

bool NaturalLess(std::string_view a, std::string_view b) {
  std::string_view x = a, y = b;
  while (!x.empty() && !y.empty()) {
    if (IsDigit(x[0]) && IsDigit(y[0])) {
      const std::string_view m = TakeNumber(x), n = TakeNumber(y);
      if (m.size() != n.size()) return m.size() < n.size();
      if (m != n) return m < n;
    } else {
      if (x[0] != y[0]) return static_cast<unsigned char>(x[0]) < static_cast<unsigned char>(y[0]);
      x.remove_prefix(1);
      y.remove_prefix(1);
    }
  }
  if (x.empty() != y.empty()) return x.empty();
  return a < b;  // "1" and "01".
}

std::vector<fs::path> ListFolder(const fs::path& folder) {
  std::error_code error;
  std::vector<fs::path> names;
  for (fs::directory_iterator entry(folder, error), end; !error && entry != end; entry.increment(error)) {
    fs::path name = entry->path().filename();
    if (IsTemporaryName(name)) {
      throw BadInput(
          fmt::format("folder {} is not whole: it is still written, or who wrote it was killed (it has {})",
                      folder.string(), name.string()));
    }
    if (!name.native().starts_with('.')) names.push_back(std::move(name));
  }
  if (error) throw BadInput(fmt::format("cannot read folder {}: {}", folder.string(), error.message()));
  std::ranges::sort(names,
                    [](const fs::path& a, const fs::path& b) { return NaturalLess(a.native(), b.native()); });
  return names;
}

MissingFolders::MissingFolders(const fs::path& path) {
  std::error_code error;
  for (fs::path above = path; !above.empty() && !fs::exists(above, error); above = above.parent_path())
    made_.insert(made_.begin(), above);
  if (!made_.empty()) fs::create_directories(path, error);
  if (!error) return;
  Remove();
  throw BadInput(fmt::format("cannot create folder {}: {}", path.string(), error.message()));
}

void MissingFolders::Remove() {
  for (auto folder = made_.rbegin(); folder != made_.rend(); ++folder) rmdir(folder->c_str());
}

AtomicFolder::AtomicFolder(const fs::path& path) : path_(path) {
  if (!path_.has_filename()) path_ = path_.parent_path();  // "out/" is "out".
  std::error_code error;
  exists_ = fs::exists(path_, error);
  if (exists_ && !fs::is_directory(path_, error)) {
    throw BadInput(fmt::format("cannot write folder {}: a file is there", path_.string()));
  }
  const fs::path place = exists_ ? path_ / "" : path_;
  RemoveStaleTemporaries(place);
  if (exists_ && !fs::is_empty(path_, error)) {
    throw BadInput(fmt::format("cannot write folder {}: {}", path_.string(),
                               error ? error.message() : "it is not empty, give a new or an empty one"));
  }
  temporary_ = Temporary::Folder(place);
  if (!temporary_)
    throw BadInput(fmt::format("cannot write folder {}: {}", path_.string(), std::strerror(errno)));
}

void AtomicFolder::Commit() {
  bool good = true;
  if (exists_) {
    good = MoveFiles();
  } else {
    good = temporary_.MoveTo(path_);
  }
  if (!good) throw BadInput(fmt::format("cannot write folder {}: {}", path_.string(), std::strerror(errno)));
}

/// While this goes on the temporary folder is there, and ListFolder refuses the one around it.
bool AtomicFolder::MoveFiles() {
  std::vector<fs::path> moved;
  for (const fs::path& name : ListFolder(temporary_.path())) {
    if (rename((temporary_.path() / name).c_str(), (path_ / name).c_str()) == 0) {
      moved.push_back(name);
      continue;
    }
    const int reason = errno;
    for (const fs::path& back : moved) rename((path_ / back).c_str(), (temporary_.path() / back).c_str());
    errno = reason;
    return false;
  }
  temporary_.Remove();
  return true;
}

}  // namespace halfsafe
