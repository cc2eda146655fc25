#include "model/test_support.h"
#include "tensorrt/prepare.h"
#include "tensorrt/warnings.h"

namespace halfsafe {
namespace {

using testing::ElementsAre;

class Listener : public Progress {
 public:
  void Warn(std::string_view message) override { shown.emplace_back(message); }
  std::vector<std::string> shown;
};

/// Says of every layer what TensorRT says of every layer, and builds nothing.
class TalkativeBackend : public Backend {
 public:
  explicit TalkativeBackend(Progress* progress) : warnings_(progress) {}
  std::string version() const override { return "8.6.1"; }
  std::string gpu() const override { return "none"; }
  bool Supports(Typing typing) const override { return typing == Typing::kWeak; }
  Typing default_typing() const override { return Typing::kWeak; }
  bool has_bf16() const override { return false; }
  bool has_int64() const override { return false; }
  BuiltEngine Build(const EngineRequest& /*request*/, const BuildOptions& /*options*/) override {
    for (const char* warning : {"weights are subnormal", "a cast", "weights are subnormal"})
      warnings_.Add(warning, "TensorRT: ");
    return {};
  }
  std::unique_ptr<LoadedEngine> Load(std::span<const std::byte> /*engine*/,
                                     std::string_view /*where*/) override {
    return nullptr;
  }
  const std::vector<std::string>& warnings() const override { return warnings_.all(); }

 private:
  Warnings warnings_;
};

TEST(BuildTest, WarningsAreShownOnceAndAllKept) {
  const Model model = Loaded(ParsedProto(
      R"(<ir_version: 8, opset_import: ["": 17]> g (float[4] x) => (float[4] y) { y = Relu (x) })"));
  Prepared prepared;
  prepared.warnings = {"no BF16"};
  Listener listener;
  TalkativeBackend backend(&listener);
  const BuildResult result = BuildPrepared(model, prepared, {}, &backend, &listener);
  EXPECT_THAT(listener.shown, ElementsAre("no BF16", "TensorRT: weights are subnormal", "TensorRT: a cast"));
  EXPECT_THAT(result.warnings,
              ElementsAre("no BF16", "weights are subnormal", "a cast", "weights are subnormal"));
  EXPECT_EQ(result.model_sha256, model.sha256());
}

}  // namespace
}  // namespace halfsafe
