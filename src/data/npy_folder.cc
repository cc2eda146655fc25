#include "data/npy_folder.h"

#include <algorithm>
#include <utility>

#include "base/file.h"
#include "data/folder.h"
#include "data/npy.h"
#include "halfsafe/error.h"
#include "halfsafe/progress.h"

namespace halfsafe {
namespace {

std::string Replaced(std::string_view name, std::string_view slash, std::string_view colon) {
  std::string text;
  for (const char c : name) {
    if (c == '/') {
      text += slash;
    } else if (c == ':') {
      text += colon;
    } else {
      text += c;
    }
  }
  return text;
}

bool GoesBy(const std::string& name, std::string_view stem) {
  for (const std::string_view slash : {"/", "_", "__"}) {
    for (const std::string_view colon : {":", "_", "__"}) {
      if (Replaced(name, slash, colon) == stem) return true;
    }
  }
  return false;
}

class NpyFolder : public SampleSource {
 public:
  NpyFolder(std::filesystem::path folder, std::string label, const std::vector<InputSpec>& inputs)
      : folder_(std::move(folder)), label_(std::move(label)) {
    for (const std::filesystem::path& name : ListFolder(folder_)) {
      if (name.extension() == ".npy") files_.emplace_back(InputForStem(name.stem().native(), inputs), name);
    }
  }

  uint64_t size() const override { return 1; }
  std::string Name(uint64_t /*index*/) const override { return label_; }

  Sample Read(uint64_t /*index*/) const override {
    Sample sample{label_, {}};
    for (const auto& [input, name] : files_) {
      ThrowIfInterrupted();
      const std::filesystem::path path = folder_ / name;
      if (!std::filesystem::is_regular_file(path)) throw BadInput(path.string() + ": not a regular file");
      const MappedFile file(path, "array");
      sample.inputs.push_back({input, ParseNpy(file.bytes(), path.string())});
    }
    return sample;
  }

 private:
  std::filesystem::path folder_;
  std::string label_;
  std::vector<std::pair<std::string, std::filesystem::path>> files_;  ///< Input and file name.
};

}  // namespace

std::string InputForStem(std::string_view stem, const std::vector<InputSpec>& inputs) {
  const InputSpec* match = nullptr;
  for (const InputSpec& input : inputs) {
    if (input.name == stem) return input.name;
  }
  for (const InputSpec& input : inputs) {
    if (!GoesBy(input.name, stem)) continue;
    if (match != nullptr) return std::string(stem);
    match = &input;
  }
  return match != nullptr ? match->name : std::string(stem);
}

std::unique_ptr<SampleSource> OpenNpyFolder(const std::filesystem::path& folder, const std::string& label,
                                            const std::vector<InputSpec>& inputs) {
  return std::make_unique<NpyFolder>(folder, label, inputs);
}

}  // namespace halfsafe
