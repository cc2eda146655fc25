#include "data/polygraphy.h"

#include <fmt/format.h>

#include <functional>
#include <optional>
#include <utility>

#include "data/array.h"
#include "halfsafe/error.h"
#include "halfsafe/progress.h"

namespace halfsafe {
namespace {

/// Where a sample lies in its file.
struct TextRange {
  size_t begin = 0;
  size_t size = 0;
};

/// Whether `value` looks like ["runner", [IterationResult...]].
bool IsRun(const JsonScanner& json, std::string_view value) {
  if (!JsonScanner::IsList(value)) return false;
  size_t count = 0;
  bool fits = true;
  json.ForEach(value, [&](std::string_view part) {
    fits = fits && count < 2 && (count == 0 ? JsonScanner::IsString(part) : JsonScanner::IsList(part));
    ++count;
  });
  return fits && count == 2;
}

/// The "lst" of an object, if it has one that is a list.
std::optional<std::string_view> WrappedList(const JsonScanner& json, std::string_view object) {
  for (const JsonScanner::Member& member : json.Members(object)) {
    if (member.key == "lst" && JsonScanner::IsList(member.value)) return member.value;
  }
  return std::nullopt;
}

/// Samples in a JSON text, found when opened and read one by one: thousands of files can be open.
class JsonSamples : public SampleSource {
 public:
  JsonSamples(std::filesystem::path path, std::string label, std::string_view role)
      : path_(std::move(path)), label_(std::move(label)), role_(role) {}

  uint64_t size() const override { return ranges_.size(); }
  std::string Name(uint64_t index) const override {
    return single_ ? label_ : fmt::format("{}[{}]", label_, index);
  }

  Sample Read(uint64_t index) const override {
    Sample sample{Name(index), {}};
    const TextRange range = ranges_.at(index);
    const std::string text = ReadPart(path_, role_, range.begin, range.size);
    const JsonScanner json(text, sample.name, range.begin);
    const std::string_view root = json.Root();
    if (!JsonScanner::IsObject(root))
      json.Fail(root, fmt::format("expected an object of {}s by name", noun()));
    for (const JsonScanner::Member& member : json.Members(Tensors(json, root))) {
      ThrowIfInterrupted();
      const JsonScanner array = json.Renamed(fmt::format("{}: {} '{}'", sample.name, noun(), member.key));
      sample.inputs.push_back({member.key, ParsePolygraphyArray(array, member.value)});
    }
    return sample;
  }

 protected:
  /// What the samples consist of.
  virtual std::string_view noun() const = 0;
  /// The object inside a sample that has an array a member.
  virtual std::string_view Tensors(const JsonScanner& json, std::string_view root) const = 0;

  void AddRange(const MappedFile& file, std::string_view value) {
    ranges_.push_back({static_cast<size_t>(value.data() - file.text().data()), value.size()});
  }
  void AddElements(const JsonScanner& json, const MappedFile& file, std::string_view list) {
    json.ForEach(list, [&](std::string_view value) { AddRange(file, value); });
  }

  std::filesystem::path path_;
  std::string label_;
  std::string role_;
  std::vector<TextRange> ranges_;
  bool single_ = false;  ///< The file is one sample, not a list.
};

class InputSamples : public JsonSamples {
 public:
  InputSamples(const std::filesystem::path& path, const std::string& label)
      : JsonSamples(path, label, "Polygraphy inputs") {
    const MappedFile file(path, role_);
    const JsonScanner json(file.text(), label);
    std::string_view root = json.Root();
    if (JsonScanner::IsObject(root)) {
      const std::optional<std::string_view> list = WrappedList(json, root);
      single_ = !list;
      if (list) root = *list;
    }
    if (single_) {
      AddRange(file, root);
    } else if (JsonScanner::IsList(root)) {
      json.ForEach(root, [&](std::string_view value) {
        if (IsRun(json, value)) {
          json.Fail(value,
                    "holds outputs that Polygraphy recorded (RunResults), expected inputs: a list with an "
                    "object of arrays a sample");
        }
        AddRange(file, value);
      });
    } else {
      json.Fail(root, "expected a list of samples as Polygraphy writes it");
    }
  }

 protected:
  std::string_view noun() const override { return "input"; }
  std::string_view Tensors(const JsonScanner& /*json*/, std::string_view root) const override { return root; }
};

class OutputSamples : public JsonSamples {
 public:
  OutputSamples(const std::filesystem::path& path, const std::string& label)
      : JsonSamples(path, label, "recorded outputs") {
    const MappedFile file(path, role_);
    const JsonScanner json(file.text(), label);
    const std::string_view root = json.Root();
    std::optional<std::string_view> runs;
    if (JsonScanner::IsObject(root)) runs = WrappedList(json, root);
    if (!runs) json.Fail(root, "expected outputs as Polygraphy records them ({\"lst\": [[runner, [...]]]})");
    bool first = true;
    json.ForEach(*runs, [&](std::string_view run) {
      if (!IsRun(json, run)) json.Fail(run, "expected [runner name, [a result a sample]]");
      if (!std::exchange(first, false)) return;
      json.ForEach(run, [&](std::string_view part) {
        if (JsonScanner::IsList(part)) AddElements(json, file, part);
      });
    });
  }

 protected:
  std::string_view noun() const override { return "tensor"; }
  std::string_view Tensors(const JsonScanner& json, std::string_view root) const override {
    for (const JsonScanner::Member& member : json.Members(root)) {
      if (member.key == "outputs" && JsonScanner::IsObject(member.value)) return member.value;
    }
    json.Fail(root, "expected an object \"outputs\"");
  }
};

}  // namespace

std::unique_ptr<SampleSource> OpenPolygraphyInputs(const std::filesystem::path& path,
                                                   const std::string& label) {
  return std::make_unique<InputSamples>(path, label);
}

std::unique_ptr<SampleSource> OpenPolygraphyOutputs(const std::filesystem::path& path,
                                                    const std::string& label) {
  return std::make_unique<OutputSamples>(path, label);
}

void WritePolygraphyInputs(AtomicFile& file, const SampleSource& source) {
  file.Write("[");
  for (uint64_t i = 0; i < source.size(); ++i) {
    ThrowIfInterrupted();
    const Sample sample = source.Read(i);
    file.Write(i == 0 ? "\n    {" : ",\n    {");
    std::string_view separator = "\n        ";
    for (const NamedArray& input : sample.inputs) {
      RequireNumpyForm(input);
      file.Write(separator);
      file.Write(JsonQuoted(input.name) + ": ");
      WritePolygraphyArray(file, input.array);
      separator = ",\n        ";
    }
    file.Write("\n    }");
  }
  file.Write("\n]\n");
}

void WriteIterationResult(AtomicFile& file, const std::vector<NamedArray>& outputs,
                          const std::string& runner_name) {
  file.Write("{\"outputs\": {");
  std::string_view separator = "\n    ";
  for (const NamedArray& output : outputs) {
    ThrowIfInterrupted();
    file.Write(separator);
    file.Write(JsonQuoted(output.name) + ": {\"values\": ");
    WritePolygraphyArray(file, output.array);
    file.Write(", \"polygraphy_class\": \"LazyArray\"}");
    separator = ",\n    ";
  }
  file.Write("\n  }, \"runtime\": null, \"runner_name\": " + JsonQuoted(runner_name) +
             ", \"polygraphy_class\": \"IterationResult\"}");
}

}  // namespace halfsafe
