#pragma once

#include <cstddef>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "data/npy.h"
#include "halfsafe/sample.h"

struct zip;
struct zip_file;

namespace halfsafe {

/// The arrays of a .npz (a zip of .npy), stored or deflated. Whatever the file claims, no more memory is
/// taken than the bytes that really come out of it.
class NpzFile {
 public:
  /// Throws BadInput when `path` is not a readable zip that holds arrays.
  explicit NpzFile(const std::filesystem::path& path);
  /// The same for a .npz in memory, which must outlive the object. `where` names it in messages.
  NpzFile(std::span<const std::byte> bytes, std::string where);

  /// The arrays' names, in the order of the file.
  const std::vector<std::string>& names() const { return names_; }

  /// Reads one array as the bytes come, which is all that compression allows.
  class Stream {
   public:
    /// What the array's header says.
    const NpyHeader& header() const { return header_; }
    /// The next `size` elements' bytes as stored. Throws BadInput when they end too early.
    std::vector<std::byte> Read(size_t size);
    /// Passes over `size` bytes.
    void Skip(size_t size);
    /// Checks what follows the elements, with it the zip's checksum.
    void Finish();

   private:
    friend class NpzFile;
    Stream(zip* archive, size_t entry, std::string where);
    /// Reads up to `size` bytes and returns how many there were.
    size_t ReadSome(void* data, size_t size);

    std::unique_ptr<zip_file, int (*)(zip_file*)> file_;
    std::string where_;
    uint64_t left_ = 0;  ///< Bytes that the zip still promises.
    NpyHeader header_;
  };

  /// Begins to read array `index` of names(). The stream must not outlive the file.
  Stream Open(size_t index) const;
  /// Reads all of array `index` of names().
  Array Read(size_t index) const;

 private:
  void ListMembers(uint64_t file_size);

  std::string where_;
  std::unique_ptr<zip, void (*)(zip*)> archive_;
  std::vector<std::string> names_;
  std::vector<size_t> entries_;  ///< Where in the zip each of `names_` is.
};

/// Writes `arrays` to the new file `path`, uncompressed. Throws BadInput when that fails; nothing is left
/// then.
void WriteNpz(const std::filesystem::path& path, const std::vector<NamedArray>& arrays);

/// Opens one .npz as one sample, or with `leading_axis` as one sample for each index of its arrays' first
/// axis, which stays with size 1. `label` names the file in sample names.
std::unique_ptr<SampleSource> OpenNpzSamples(const std::filesystem::path& path, const std::string& label,
                                             bool leading_axis);

}  // namespace halfsafe
