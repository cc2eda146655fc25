#include "tensorrt/constraints.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace halfsafe {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

NetworkLayer Layer(std::string name, std::vector<std::string> outputs, std::string node = "") {
  return {std::move(name), std::move(node), std::move(outputs), false, true};
}

std::vector<size_t> Positions(const std::vector<LayerConstraint>& constraints) {
  std::vector<size_t> positions;
  for (const LayerConstraint& constraint : constraints) positions.push_back(constraint.layer);
  return positions;
}

TEST(ConstraintsTest, LayersGoByNameByOutputAndByTheParsersNameForNone) {
  const std::vector<NetworkLayer> layers = {Layer("conv", {"x"}), Layer("other", {"y"}),
                                            Layer("node_of_z", {"z"}), Layer("free", {"f"})};
  std::vector<PinnedLayer> pinned;
  const auto constraints = ChooseConstraints({{"conv", Precision::kFp32, "conv", {"x"}},
                                              {"renamed", Precision::kFp32, "renamed", {"y"}},
                                              {"z", Precision::kFp32, "", {"z"}}},
                                             layers, false, &pinned);
  EXPECT_THAT(Positions(constraints), ElementsAre(0, 1, 2));
  EXPECT_THAT(pinned[1].layers, ElementsAre("other"));
  EXPECT_THAT(pinned[1].problem, IsEmpty());
}

TEST(ConstraintsTest, NamelessLayersGoWithTheNextThatHasAName) {
  // As the parser makes a normalization: helpers first, the layer that writes the ONNX tensor last.
  const std::vector<NetworkLayer> layers = {
      Layer("before", {"a"}), Layer("(Unnamed Layer* 1) [Shuffle]", {"(Unnamed Layer* 1) [Shuffle]_output"}),
      Layer("norm", {"b"}), Layer("(Unnamed Layer* 3) [Shuffle]", {"(Unnamed Layer* 3) [Shuffle]_output"}),
      Layer("after", {"c"})};
  std::vector<PinnedLayer> pinned;
  const auto constraints =
      ChooseConstraints({{"norm", Precision::kFp32, "norm", {"b"}}}, layers, false, &pinned);
  EXPECT_THAT(Positions(constraints), ElementsAre(1, 2));
}

TEST(ConstraintsTest, TheParsersWordIsBetterThanATensorOfTheSameName) {
  // Layer "relu" of node "relu" writes "conv", which is a node's name too.
  const std::vector<NetworkLayer> layers = {Layer("conv", {"t"}, "conv"), Layer("relu", {"conv"}, "relu")};
  std::vector<PinnedLayer> pinned;
  const auto constraints =
      ChooseConstraints({{"conv", Precision::kFp32, "conv", {"t"}}}, layers, false, &pinned);
  EXPECT_THAT(Positions(constraints), ElementsAre(0));
}

TEST(ConstraintsTest, WhatCannotBePinnedIsSaid) {
  NetworkLayer constant = Layer("weights", {"w"});
  constant.constant = true;
  NetworkLayer shape = Layer("shape", {"s"});
  shape.takes_precision = false;
  std::vector<PinnedLayer> pinned;
  const auto constraints = ChooseConstraints({{"weights", Precision::kFp32, "weights", {"w"}},
                                              {"shape", Precision::kFp32, "shape", {"s"}},
                                              {"gone", Precision::kFp32, "gone", {"g"}}},
                                             {constant, shape}, false, &pinned);
  EXPECT_THAT(constraints, IsEmpty());
  EXPECT_THAT(pinned[0].problem, HasSubstr("constants"));
  EXPECT_THAT(pinned[1].problem, HasSubstr("constants, shapes"));
  EXPECT_THAT(pinned[2].problem, HasSubstr("no layer"));
}

TEST(ConstraintsTest, Bf16IsFp32WhereTensorRtHasNone) {
  const std::vector<PinnedNode> nodes = {{"a", Precision::kBf16, "a", {"x"}}};
  std::vector<PinnedLayer> pinned;
  EXPECT_EQ(ChooseConstraints(nodes, {Layer("a", {"x"})}, true, &pinned)[0].precision, Precision::kBf16);
  EXPECT_EQ(ChooseConstraints(nodes, {Layer("a", {"x"})}, false, &pinned)[0].precision, Precision::kFp32);
}

}  // namespace
}  // namespace halfsafe
