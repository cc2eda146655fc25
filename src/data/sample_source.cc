#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <set>
#include <utility>

#include "base/file.h"
#include "data/concatenated.h"
#include "data/folder.h"
#include "data/npy_folder.h"
#include "data/npz.h"
#include "data/onnx_test_data.h"
#include "data/polygraphy.h"
#include "halfsafe/error.h"
#include "halfsafe/progress.h"
#include "halfsafe/sample.h"

namespace halfsafe {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kAccepted =
    "Polygraphy input .json, .npz, a folder of .npy, ONNX test data (input_0.pb ...), or a folder of these";

/// Finds the samples under a path that the user gave.
class Collector {
 public:
  Collector(const std::vector<InputSpec>& inputs, const DataOptions& options, ConcatenatedSamples& all)
      : inputs_(inputs), options_(options), all_(all) {}

  /// Adds the samples of one path, and says whether there is anything of a known kind.
  bool Add(const fs::path& path) {
    ThrowIfInterrupted();
    std::error_code error;
    const fs::file_status status = fs::status(path, error);
    if (fs::is_directory(status)) return AddFolder(path);
    if (!fs::is_regular_file(status)) return false;
    const std::string label = path.string();
    if (path.extension() == ".json") {
      all_.Add(OpenPolygraphyInputs(path, label), label);
    } else if (path.extension() == ".npz") {
      all_.Add(OpenNpzSamples(path, label, options_.leading_axis), label);
    } else {
      return false;
    }
    return true;
  }

 private:
  bool AddFolder(const fs::path& folder) {
    // Each folder counts once, whatever symbolic links lead to it: links may form loops.
    struct stat status {};
    if (stat(folder.c_str(), &status) != 0 || !visited_.insert({status.st_dev, status.st_ino}).second)
      return false;
    const std::vector<fs::path> names = ListFolder(folder);
    const std::string label = folder.string();
    if (std::ranges::any_of(names,
                            [](const fs::path& name) { return TestDataIndex(name.native()).has_value(); })) {
      all_.Add(OpenTestData(folder, label, inputs_), label);
      return true;
    }
    if (std::ranges::any_of(names, [](const fs::path& name) { return name.extension() == ".npy"; })) {
      all_.Add(OpenNpyFolder(folder, label, inputs_), label);
      return true;
    }
    bool found = false;
    for (const fs::path& name : names) found = Add(folder / name) || found;
    return found;
  }

  const std::vector<InputSpec>& inputs_;
  const DataOptions& options_;
  ConcatenatedSamples& all_;
  std::set<std::pair<dev_t, ino_t>> visited_;
};

class Every : public SampleSource {
 public:
  Every(const SampleSource& source, uint64_t begin, uint64_t step)
      : source_(source), begin_(begin), step_(step) {}

  uint64_t size() const override {
    return begin_ >= source_.size() ? 0 : (source_.size() - begin_ - 1) / step_ + 1;
  }
  std::string Name(uint64_t index) const override { return source_.Name(begin_ + index * step_); }
  Sample Read(uint64_t index) const override { return source_.Read(begin_ + index * step_); }

 private:
  const SampleSource& source_;
  uint64_t begin_;
  uint64_t step_;
};

}  // namespace

std::unique_ptr<SampleSource> OpenSamples(const std::vector<fs::path>& paths,
                                          const std::vector<InputSpec>& inputs, const DataOptions& options) {
  auto all = std::make_unique<ConcatenatedSamples>();
  for (const fs::path& path : paths) {
    std::error_code error;
    const fs::file_status status = fs::status(path, error);
    if (!fs::exists(status)) {
      throw BadInput(fmt::format("cannot read samples {}: {}", path.string(),
                                 error ? error.message() : "no such file or folder"));
    }
    if (!Collector(inputs, options, *all).Add(path)) {
      throw BadInput(fmt::format(
          "{}: {}, expected {}", path.string(),
          fs::is_directory(status) ? "found no samples in this folder" : "not a file of samples", kAccepted));
    }
  }
  if (all->size() == 0) {
    std::string names;
    for (const fs::path& path : paths) names += (names.empty() ? "" : ", ") + path.string();
    throw BadInput(fmt::format("{}: no samples found, expected {}", names, kAccepted));
  }
  return all;
}

std::unique_ptr<SampleSource> EverySample(const SampleSource& source, uint64_t begin, uint64_t step) {
  if (step == 0) throw BadUsage("every 0th sample makes no sense, the step must be at least 1");
  return std::make_unique<Every>(source, begin, step);
}

void WriteSamples(const SampleSource& source, const fs::path& path) {
  if (path.extension() == ".json") {
    AtomicFile file(path);
    WritePolygraphyInputs(file, source);
    file.Commit();
    return;
  }
  AtomicFolder folder(path);
  for (uint64_t i = 0; i < source.size(); ++i) {
    ThrowIfInterrupted();
    WriteNpz(folder.temporary() / fmt::format("{:010}.npz", i), source.Read(i).inputs);
  }
  folder.Commit();
}

}  // namespace halfsafe
