#include <fmt/format.h>

#include <optional>
#include <utility>

#include "base/file.h"
#include "data/concatenated.h"
#include "data/folder.h"
#include "data/polygraphy.h"
#include "halfsafe/error.h"
#include "halfsafe/progress.h"
#include "halfsafe/sample.h"

namespace halfsafe {
namespace {

/// What comes before and after the IterationResults of one runner.
std::string Head(const std::string& runner) { return "{\"lst\": [[" + JsonQuoted(runner) + ", ["; }
constexpr std::string_view kTail = "]]], \"polygraphy_class\": \"RunResults\"}\n";

}  // namespace

std::unique_ptr<SampleSource> OpenRecordedOutputs(const std::vector<std::filesystem::path>& paths) {
  auto all = std::make_unique<ConcatenatedSamples>();
  for (const std::filesystem::path& path : paths) {
    std::error_code error;
    if (!std::filesystem::is_directory(path, error)) {
      if (std::filesystem::exists(path, error) && !std::filesystem::is_regular_file(path, error)) {
        throw BadInput(fmt::format("cannot read recorded outputs {}: not a regular file", path.string()));
      }
      all->Add(OpenPolygraphyOutputs(path, path.string()), path.string());
      continue;
    }
    bool found = false;
    for (const std::filesystem::path& name : ListFolder(path)) {
      const std::filesystem::path file = path / name;
      if (name.extension() != ".json" || !std::filesystem::is_regular_file(file, error)) continue;
      ThrowIfInterrupted();
      all->Add(OpenPolygraphyOutputs(file, file.string()), file.string());
      found = true;
    }
    if (!found) {
      throw BadInput(fmt::format("{}: expected a folder of .json files that Polygraphy recorded, found none",
                                 path.string()));
    }
  }
  if (all->size() == 0) throw BadInput("no recorded outputs: the files given hold no iteration");
  return all;
}

struct RecordedOutputsWriter::Impl {
  std::string runner;
  std::optional<AtomicFile> file;      ///< Set when all samples go into one file.
  std::optional<AtomicFolder> folder;  ///< Set when each gets its own.
  uint64_t count = 0;
};

RecordedOutputsWriter::RecordedOutputsWriter(const std::filesystem::path& path, std::string runner_name)
    : impl_(std::make_unique<Impl>()) {
  impl_->runner = std::move(runner_name);
  if (path.has_extension()) {
    impl_->file.emplace(path);
    impl_->file->Write(Head(impl_->runner));
  } else {
    impl_->folder.emplace(path);
  }
}

RecordedOutputsWriter::~RecordedOutputsWriter() = default;

void RecordedOutputsWriter::Add(const std::vector<NamedArray>& outputs) {
  ThrowIfInterrupted();
  if (impl_->file) {
    impl_->file->Write(impl_->count == 0 ? "\n  " : ",\n  ");
    WriteIterationResult(*impl_->file, outputs, impl_->runner);
  } else {
    AtomicFile file(impl_->folder->temporary() / fmt::format("{:010}.json", impl_->count));
    file.Write(Head(impl_->runner));
    WriteIterationResult(file, outputs, impl_->runner);
    file.Write(kTail);
    file.Commit();
  }
  ++impl_->count;
}

void RecordedOutputsWriter::Commit() {
  if (impl_->file) {
    impl_->file->Write(kTail);
    impl_->file->Commit();
  } else {
    impl_->folder->Commit();
  }
}

}  // namespace halfsafe
