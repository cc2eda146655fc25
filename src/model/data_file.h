#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <set>
#include <span>
#include <string>

#include "base/file.h"

namespace halfsafe {

/// The weights beside a model that is being saved. What the file is called says what it holds, so that no
/// model ever reads another one's weights: "MODEL.onnx.HASH.data". A new model and the one that it replaces,
/// copies and renamed ones, those of two runs at the same time, each has its own or the same bytes.
class DataFile {
 public:
  /// Throws BadInput when the folder of `model`, the model's own file, can't be written to.
  explicit DataFile(const std::filesystem::path& model);
  ~DataFile();
  DataFile(const DataFile&) = delete;
  DataFile& operator=(const DataFile&) = delete;

  /// Appends weights where a page begins, as mapping wants it, and returns where that is.
  uint64_t Append(std::span<const std::byte> bytes);
  /// The name, once everything is in.
  std::string Finish();
  /// Makes the file appear, to be called before the model does. Unless Keep follows it is removed again, if
  /// it was not there before.
  void Commit();
  /// The model is there: the file stays. Returns where it is.
  const std::filesystem::path& Keep();

 private:
  std::filesystem::path model_;
  AtomicFile file_;
  Sha256 sha256_;
  std::filesystem::path path_;  ///< Empty before Finish.
  bool added_ = false;
};

/// The files of weights beside the model at `model`, where one is there that was saved by halfsafe.
std::set<std::filesystem::path> DataFilesOf(const std::filesystem::path& model);

}  // namespace halfsafe
