#include "verify/probe.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "data/test_support.h"
#include "model/test_support.h"

namespace halfsafe {
namespace {

using testing::ElementsAre;

/// The entries behind each rounding, by the name of what is rounded.
std::map<std::string, std::set<size_t>> EntriesOf(const Model& model, const Plan& plan) {
  const CheckOptions options;
  const Probe probe(model, plan, OneSample(), 0, options);
  std::map<std::string, std::set<size_t>> entries;
  for (size_t rounding = 0; rounding < probe.size(); ++rounding)
    entries[probe.name(rounding)] = probe.EntriesOf(rounding);
  return entries;
}

TEST(Probe, KnowsTheWriterOfAnOutputInAnotherForm) {
  const Model model = Loaded(ParsedProto(R"(<ir_version: 8, opset_import: ["" : 17]>
    g (float[4] x) => (float[4] y) <float three = {3}> {
      [first] a = Relu(x)
      y = Mul(a, three)
    })"));
  Plan plan;
  plan.model_sha256 = model.sha256();
  plan.nodes = {{"first", Precision::kFp16, "", ""}, {"y", Precision::kFp16, "", ""}};
  // What is stored for y is y * 2^-2, under a name of its own; the node has none, and goes by that in the
  // result.
  plan.tensors = {{"y", 2}};
  const auto entries = EntriesOf(model, plan);
  ASSERT_TRUE(entries.contains("y.fp16_e2"));
  EXPECT_THAT(entries.at("y.fp16_e2"), ElementsAre(1));
  ASSERT_TRUE(entries.contains("x.fp16"));
  EXPECT_THAT(entries.at("x.fp16"), ElementsAre(0));
}

TEST(Probe, TellsCopiesOfConstantsFromNodesOfTheOriginal) {
  const Model model = Loaded(ParsedProto(R"(<ir_version: 8, opset_import: ["" : 17]>
    g (float[4] x) => (float[4] y) {
      k = Constant<value: tensor = float {3.1}>()
      a = Mul(x, k)
      b = Relu(a)
      y = Mul(b, k)
    })"));
  Plan plan;
  plan.model_sha256 = model.sha256();
  plan.nodes = {
      {"a", Precision::kFp16, "", ""}, {"b", Precision::kFp32, "", ""}, {"y", Precision::kFp16, "", ""}};
  plan.tensors = {{"a", 3}, {"b", 3}};
  const auto entries = EntriesOf(model, plan);
  ASSERT_TRUE(entries.contains("y.fp16"));
  EXPECT_THAT(entries.at("y.fp16"), ElementsAre(2));
  // Both of a's ends want it times 2^-3, so that is what goes by its name.
  ASSERT_TRUE(entries.contains("a"));
  EXPECT_THAT(entries.at("a"), ElementsAre(0));
}

}  // namespace
}  // namespace halfsafe
