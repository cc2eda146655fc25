#include "model/data_file.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <system_error>

namespace halfsafe {
namespace {

namespace fs = std::filesystem;

constexpr size_t kHashDigits = 16;
constexpr std::string_view kEnding = ".data";

bool IsHexDigit(char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); }

}  // namespace

DataFile::DataFile(const fs::path& model) : model_(model), file_(model.string() + std::string(kEnding)) {}

DataFile::~DataFile() {
  std::error_code ignored;
  if (added_) fs::remove(path_, ignored);
}

uint64_t DataFile::Append(std::span<const std::byte> bytes) {
  constexpr uint64_t kPage = 4096;
  static constexpr std::byte kZeros[kPage] = {};
  const auto write = [&](std::span<const std::byte> part) {
    file_.Write(part.data(), part.size());
    sha256_.Add(part);
  };
  write(std::span(kZeros).first((kPage - file_.size() % kPage) % kPage));
  const uint64_t begin = file_.size();
  write(bytes);
  return begin;
}

std::string DataFile::Finish() {
  const std::string name =
      fmt::format("{}.{}{}", model_.filename().string(), sha256_.Hex().substr(0, kHashDigits), kEnding);
  path_ = model_.parent_path() / name;
  return name;
}

void DataFile::Commit() {
  std::error_code ignored;
  const bool there = fs::exists(path_, ignored);
  file_.CommitAs(path_);
  added_ = !there;
}

const fs::path& DataFile::Keep() {
  added_ = false;
  return path_;
}

std::set<fs::path> DataFilesOf(const fs::path& model) {
  std::set<fs::path> files;
  std::error_code error;
  if (!fs::is_regular_file(model, error) || access(model.c_str(), R_OK) != 0) return files;
  // Names are all that is wanted of it, and they stand in it as they are.
  const MappedFile file(model, "model");
  const std::string_view text = file.text();
  const std::string prefix = model.filename().string() + ".";
  for (size_t at = text.find(prefix); at != std::string_view::npos; at = text.find(prefix, at + 1)) {
    const std::string_view name = text.substr(at, prefix.size() + kHashDigits + kEnding.size());
    const std::string_view rest = name.substr(std::min(name.size(), prefix.size()));
    const std::string_view hash = rest.substr(0, kHashDigits);
    if (hash.size() == kHashDigits && std::ranges::all_of(hash, IsHexDigit) &&
        rest.substr(kHashDigits) == kEnding)
      files.insert(model.parent_path() / name);
  }
  return files;
}

}  // namespace halfsafe
