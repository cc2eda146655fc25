#include "cli/outputs.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <utility>

#include "base/file.h"
#include "halfsafe/error.h"
#include "report/html.h"

namespace halfsafe {
namespace {

namespace fs = std::filesystem;

/// What a write to `path` makes: the file behind links, which need not be there.
fs::path Written(fs::path path) {
  std::error_code error;
  constexpr int kMostLinks = 40;  // As the system has it.
  for (int links = 0; fs::is_symlink(path, error) && links < kMostLinks; ++links)
    path = path.parent_path() / fs::read_symlink(path, error);
  return fs::weakly_canonical(fs::absolute(path, error), error);
}

/// Whether two paths are one file, there already or not. Devices and pipes may be written by any number.
bool SameFile(const fs::path& one, const fs::path& other) {
  std::error_code error;
  const bool there = fs::exists(one, error);
  if (there && !fs::is_regular_file(one, error)) return false;
  if (there && fs::exists(other, error)) return fs::equivalent(one, other, error);
  return Written(one) == Written(other);
}

/// Whether `output` is an array in a folder that is one sample: these have no names of their own.
bool IsArrayIn(const fs::path& folder, const fs::path& output) {
  std::error_code error;
  const std::string kind = output.extension().string();
  if ((kind != ".npy" && kind != ".pb") || !fs::is_regular_file(output, error)) return false;
  return fs::equivalent(folder, fs::absolute(output).parent_path(), error);
}

void RequireApart(const OutputPath& output, const std::string& input) {
  if (output.path.empty() || input.empty()) return;
  if (SameFile(output.path, input) || IsArrayIn(input, output.path)) {
    throw BadUsage(
        fmt::format("{} {} would replace what is read: give it another name", output.option, output.path));
  }
}

}  // namespace

void RequireOutputs(CommonOptions* options, const std::vector<OutputPath>& others,
                    const std::vector<std::string>& inputs) {
  std::vector<OutputPath>& outputs = options->outputs;
  outputs = {{"-o", options->output}, {"--json", options->json}, {"--report", options->report}};
  outputs.insert(outputs.end(), others.begin(), others.end());
  std::erase_if(outputs, [](const OutputPath& output) { return output.path.empty(); });
  std::vector<std::string> read = inputs;
  read.insert(read.end(), options->data.begin(), options->data.end());
  read.insert(read.end(), {options->model, options->latencies});
  if (!options->report.empty()) RequireHtml();
  for (auto output = outputs.begin(); output != outputs.end(); ++output) {
    if (output->path == "-") {
      throw BadUsage(fmt::format(
          "{} is '-': only --json writes to standard output (./- is a file of that name)", output->option));
    }
    for (auto other = outputs.begin(); other != output; ++other) {
      if (SameFile(output->path, other->path)) {
        throw BadUsage(
            fmt::format("{} and {} are the same file, {}", other->option, output->option, output->path));
      }
    }
    for (const std::string& input : read) RequireApart(*output, input);
    if (!output->may_be_folder) RequireWritable(output->path);
  }
}

void RequireApart(const CommonOptions& options, const Model& model) {
  for (const OutputPath& output : options.outputs) {
    for (const fs::path& data : model.data_paths()) RequireApart(output, data.string());
  }
}

void RequireApart(const CommonOptions& options, const SampleSource& samples) {
  std::error_code error;
  std::vector<OutputPath> there;
  for (const OutputPath& output : options.outputs) {
    if (fs::is_regular_file(output.path, error)) there.push_back(output);
  }
  std::string last;
  for (uint64_t i = 0; !there.empty() && i < samples.size(); ++i) {
    std::string name = samples.Name(i);
    const size_t place = name.rfind('[');  // In a file of many.
    if (name.ends_with(']') && place != std::string::npos) name.resize(place);
    if (name == last) continue;
    for (const OutputPath& output : there) RequireApart(output, name);
    last = std::move(name);
  }
}

}  // namespace halfsafe
