#include "data/folder.h"

#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
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
    if (!name.native().starts_with('.')) names.push_back(std::move(name));
  }
  if (error) throw BadInput(fmt::format("cannot read folder {}: {}", folder.string(), error.message()));
  std::ranges::sort(names,
                    [](const fs::path& a, const fs::path& b) { return NaturalLess(a.native(), b.native()); });
  return names;
}

AtomicFolder::AtomicFolder(const fs::path& path) : path_(path) {
  if (!path_.has_filename()) path_ = path_.parent_path();  // "out/" is "out".
  std::error_code error;
  exists_ = fs::exists(path_, error);
  if (exists_ && !fs::is_directory(path_, error)) {
    throw BadInput(fmt::format("cannot write folder {}: a file is there", path_.string()));
  }
  if (exists_ && !fs::is_empty(path_, error)) {
    throw BadInput(fmt::format("cannot write folder {}: {}", path_.string(),
                               error ? error.message() : "it is not empty, give a new or an empty one"));
  }
  std::string name = exists_ ? (path_ / ".halfsafe.XXXXXX").string() : path_.string() + ".XXXXXX";
  if (mkdtemp(name.data()) == nullptr) {
    throw BadInput(fmt::format("cannot write folder {}: {}", path_.string(), std::strerror(errno)));
  }
  temporary_ = name;
}

AtomicFolder::~AtomicFolder() {
  std::error_code ignored;
  if (!done_) fs::remove_all(temporary_, ignored);
}

void AtomicFolder::Commit() {
  std::error_code error;
  if (!exists_) {
    // mkdtemp makes the folder private; an output gets the permissions that the user's umask asks for.
    const mode_t mask = umask(0);
    umask(mask);
    fs::permissions(temporary_, static_cast<fs::perms>(0777 & ~mask), error);
    if (!error) fs::rename(temporary_, path_, error);
  } else {
    std::vector<fs::path> moved;
    for (const fs::path& name : ListFolder(temporary_)) {
      fs::rename(temporary_ / name, path_ / name, error);
      if (error) break;
      moved.push_back(path_ / name);
    }
    std::error_code ignored;
    for (const fs::path& file : moved) {
      if (error) fs::remove(file, ignored);
    }
    if (!error) fs::remove(temporary_, ignored);
  }
  if (error) throw BadInput(fmt::format("cannot write folder {}: {}", path_.string(), error.message()));
  done_ = true;
}

}  // namespace halfsafe
