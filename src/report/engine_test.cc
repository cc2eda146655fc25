#include "report/engine.h"

#include <fmt/format.h>

#include <limits>
#include <nlohmann/json.hpp>
#include <regex>
#include <set>

#include "data/test_support.h"

namespace halfsafe {
namespace {

using testing::HasSubstr;
using testing::Not;

constexpr int kWidth = 160;

BuildResult Build() {
  BuildResult build;
  build.model_sha256 = "b388816f";
  build.tensorrt = "10.15.1";
  build.gpu = "H200";
  build.typing = Typing::kWeak;
  build.engine.resize(1234567);
  build.seconds = 12.34;
  build.network_layers = 42;
  build.profiles = {{{"x", {1, 3}, {2, 3}, {8, 3}}, {"scale", {1}, {1}, {1}}}};
  build.pinned = {{"exp", Precision::kFp32, {"exp", "exp_2"}, ""},
                  {"gone", Precision::kBf16, {}, "the parser removed it"}};
  build.warnings = {"a warning"};
  return build;
}

OutputError Off(std::string name, double rel_l2, bool right) {
  OutputError error;
  error.name = std::move(name);
  error.count = 8;
  error.rel_l2 = rel_l2;
  error.right = right;
  return error;
}

TraceResult Trace() {
  TraceResult trace;
  trace.build = Build();
  trace.build.engine.clear();
  trace.samples = 3;
  trace.tensors = {{"a", "na", "Relu", Off("a", 1e-4, true)},
                   {"b", "nb", "Mul", Off("b", 0.5, false)},
                   {"c", "nc", "Exp", Off("c", 0.7, false)}};
  trace.tensors[2].error.new_nonfinite = 5;
  trace.first_bad = 1;
  trace.first_nonfinite = 2;
  trace.hidden = {"d"};
  return trace;
}

BenchResult Bench() {
  BenchResult bench;
  bench.tensorrt = "10.15.1";
  bench.gpu = "H200";
  bench.samples = 3;
  bench.batch = 4;
  EngineBench engine;
  engine.name = "fixed";
  engine.median_ms = 1.25;
  engine.p99_ms = 1.5;
  engine.graph_median_ms = 1.125;
  engine.samples_per_second = 3555.5;
  engine.device_bytes = 2500000;
  engine.layers = {{"conv", 12.5}};
  engine.errors.outputs = {Off("y", 2e-3, true)};
  bench.engines = {engine, engine};
  bench.engines[1].name = "plain";
  bench.engines[1].graph_median_ms.reset();
  bench.engines[1].errors.right = false;
  bench.engines[1].errors.outputs[0].new_nonfinite = 7;
  bench.engines[1].errors.outputs[0].rel_l2 = std::numeric_limits<double>::infinity();
  return bench;
}

EngineReport Inspected() {
  EngineLayer layer{"exp + add",
                    "kgen",
                    {"exp", "add"},
                    false,
                    false,
                    {{"x", DType::kFloat16, "Half"}},
                    {{"y", DType::kFloat16, "Half"}, {"q", DType::kUndefined, "FP8"}},
                    "tactic"};
  EngineLayers layers;
  layers.detailed = true;
  layers.bindings = {"x", "y"};
  layers.layers = {layer};
  Plan plan;
  plan.nodes = {{"exp", Precision::kFp32, "", ""}, {"gone", Precision::kBf16, "", ""}};
  return CompareLayers(std::move(layers), &plan);
}

/// Every field by its path: "layers[].name". Those in `opaque` are described elsewhere.
void Collect(const nlohmann::json& json, const std::string& path, const std::set<std::string>& opaque,
             std::set<std::string>* found) {
  if (opaque.contains(path)) return;
  if (json.is_object()) {
    for (const auto& [key, value] : json.items()) {
      const std::string name = path.empty() ? key : path + "." + key;
      found->insert(name);
      Collect(value, name, opaque, found);
    }
  }
  if (json.is_array()) {
    for (const auto& value : json) Collect(value, path + "[]", opaque, found);
  }
}

/// What begins the rows of the tables under a heading of docs/formats.md.
std::set<std::string> Documented(const std::string& heading) {
  const std::string text = ReadText(std::filesystem::path(HALFSAFE_SOURCE_DIR) / "docs/formats.md");
  const size_t begin = text.find("\n## " + heading + "\n");
  EXPECT_NE(begin, std::string::npos) << heading;
  const std::string section = text.substr(begin, text.find("\n## ", begin + 4) - begin);
  const std::regex row("\n\\| `([^`]+)` \\|");
  std::set<std::string> names;
  for (auto match = std::sregex_iterator(section.begin(), section.end(), row);
       match != std::sregex_iterator(); ++match)
    names.insert((*match)[1]);
  return names;
}

void ExpectDocumented(const std::string& json, const std::string& format,
                      const std::set<std::string>& opaque) {
  const nlohmann::json parsed = nlohmann::json::parse(json);
  EXPECT_EQ(parsed["format"], format);
  EXPECT_EQ(parsed["version"], 1);
  std::set<std::string> found;
  Collect(parsed, "", opaque, &found);
  found.erase("format");
  found.erase("version");
  found.erase("model_sha256");  // Common to most files.
  EXPECT_EQ(found, Documented(format));
}

TEST(EngineJsonTest, FieldsAreThoseOfTheDocuments) {
  ExpectDocumented(ToJson(Build()), "halfsafe-build", {});
  ExpectDocumented(ToJson(Inspected()), "halfsafe-engine", {});
  ExpectDocumented(ToJson(Trace()), "halfsafe-trace", {"build", "tensors[].error"});
  ExpectDocumented(ToJson(Bench()), "halfsafe-bench", {"engines[].errors"});
}

TEST(EngineJsonTest, ValuesComeThrough) {
  const auto build = nlohmann::json::parse(ToJson(Build()));
  EXPECT_EQ(build["model_sha256"], "b388816f");
  EXPECT_EQ(build["typing"], "weak");
  EXPECT_EQ(build["warnings"], nlohmann::json({"a warning"}));
  EXPECT_EQ(build["engine_bytes"], 1234567);
  EXPECT_EQ(build["profiles"][0][0]["input"], "x");
  EXPECT_EQ(build["profiles"][0][0]["max"], nlohmann::json({8, 3}));
  EXPECT_EQ(build["pinned"][1]["precision"], "bf16");
  const auto engine = nlohmann::json::parse(ToJson(Inspected()));
  EXPECT_EQ(engine["as_planned"], false);
  EXPECT_EQ(engine["nodes"][0]["presence"], "fused");
  EXPECT_EQ(engine["nodes"][1]["presence"], "absent");
  EXPECT_EQ(engine["nodes"][0]["outputs"], nlohmann::json({"float16"}));
  EXPECT_EQ(engine["layers"][0]["outputs"][1]["dtype"], nullptr);
  const auto trace = nlohmann::json::parse(ToJson(Trace()));
  EXPECT_EQ(trace["first_bad"], "b");
  EXPECT_EQ(trace["first_nonfinite"], "c");
  EXPECT_EQ(trace["tensors"][1]["error"]["rel_l2"], 0.5);
  EXPECT_EQ(trace["build"]["engine_bytes"], 0);
  const auto bench = nlohmann::json::parse(ToJson(Bench()));
  EXPECT_EQ(bench["engines"][1]["graph_median_ms"], nullptr);
  EXPECT_EQ(bench["engines"][1]["errors"]["outputs"][0]["rel_l2"], nullptr);
  EXPECT_EQ(bench["engines"][0]["layers"][0]["median_us"], 12.5);
}

TEST(EngineTextTest, BuildsShowPinnedNodesThoseWithoutALayerFirst) {
  const std::string text = ToText(Build(), kWidth, false);
  EXPECT_THAT(text, HasSubstr("TensorRT 10.15.1 on H200, weakly typed"));
  EXPECT_THAT(text, HasSubstr("Built: 1.2 MB from 42 layers in 12.3 s"));
  EXPECT_THAT(text, HasSubstr("Shapes: x 1x3 to 8x3, tuned for 2x3; scale 1\n"));
  EXPECT_THAT(text, HasSubstr("Pinned: 2 nodes, as 2 layers; 1 without one"));
  EXPECT_THAT(text, HasSubstr("exp, exp_2"));
  EXPECT_LT(text.find("the parser removed it"), text.find("exp, exp_2"));
  EXPECT_THAT(text, Not(HasSubstr("a warning")));  // Progress has shown it.
  BuildResult parsed = Build();
  parsed.engine.clear();
  EXPECT_THAT(ToText(parsed, kWidth, false), HasSubstr("Parsed: 42 layers"));
}

TEST(EngineTextTest, EnginesShowWhatIsNotAsPlanned) {
  const std::string text = ToText(Inspected(), kWidth, false);
  EXPECT_THAT(text, HasSubstr("FP16 -> FP16  its layer reads and writes FP16 alone"));
  EXPECT_THAT(text, HasSubstr("in all: 1 fused, 1 absent"));
  EXPECT_THAT(text, HasSubstr("NOT AS PLANNED: 1 of 2"));
  EXPECT_THAT(ToText(Inspected(), kWidth, true), HasSubstr("\x1b[31mNOT AS PLANNED"));
}

TEST(EngineTextTest, EnginesWithoutDetailsHaveNoVerdict) {
  EngineReport report = CompareLayers(LayersFromJson(R"({"Layers": ["a + b"]})", "names"), nullptr);
  const std::string text = ToText(report, kWidth, false);
  EXPECT_THAT(text, HasSubstr("--profilingVerbosity=detailed"));
  EXPECT_THAT(text, Not(HasSubstr("PLANNED")));
}

TEST(EngineTextTest, TracesShowTheFirstAndTheWorst) {
  const std::string text = ToText(Trace(), kWidth, false);
  EXPECT_THAT(text, HasSubstr("First not finite: c, made by nc (Exp): 5 not finite"));
  EXPECT_THAT(text, HasSubstr("First past the tolerance: b, made by nb (Mul): 0.5"));
  EXPECT_LT(text.find("\n  c "), text.find("\n  b "));
  EXPECT_LT(text.find("\n  b "), text.find("\n  a "));
  EXPECT_THAT(text, HasSubstr("Showing tensors changes what TensorRT fuses"));
  EXPECT_THAT(text, HasSubstr("\nNOT RIGHT"));
}

TEST(EngineTextTest, BenchmarksAreOneRowAnEngine) {
  const std::string text = ToText(Bench(), kWidth, false);
  EXPECT_THAT(text, HasSubstr("3 samples, batch 4"));
  EXPECT_THAT(text, HasSubstr("1.250 ms  1.500 ms  1.125 ms"));
  EXPECT_THAT(text, HasSubstr("2.5 MB"));
  EXPECT_THAT(text, HasSubstr("7 not finite"));
  EXPECT_THAT(text, HasSubstr("\nNOT RIGHT"));
}

}  // namespace
}  // namespace halfsafe
