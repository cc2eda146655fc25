#include "observe/chain_groups.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "data/test_support.h"
#include "halfsafe/model.h"

namespace halfsafe {
namespace {

/// Nodes that read one or two earlier tensors each.
Model RandomModel(uint32_t seed, int nodes) {
  std::mt19937 random(seed);
  onnx::ModelProto model;
  model.set_ir_version(8);
  model.add_opset_import()->set_version(17);
  auto* graph = model.mutable_graph();
  graph->set_name("g");
  auto* input = graph->add_input();
  input->set_name("t0");
  input->mutable_type()->mutable_tensor_type()->set_elem_type(onnx::TensorProto::FLOAT);
  for (int i = 1; i <= nodes; ++i) {
    auto* node = graph->add_node();
    const int nearest = std::max(0, i - 8);
    node->set_op_type("Add");
    for (int k = 0; k < 2; ++k)
      node->add_input(
          "t" + std::to_string(nearest + static_cast<int>(random() % static_cast<uint32_t>(i - nearest))));
    node->add_output("t" + std::to_string(i));
  }
  graph->add_output()->set_name("t" + std::to_string(nodes));
  const TempFolder folder;
  WriteText(folder.path() / "model.onnx", model.SerializeAsString());
  return Model::Load(folder.path() / "model.onnx");
}

/// Whether nodes can run in some order, when those of a group run at once.
bool CanRun(const GraphIndex& index, const std::vector<std::vector<int>>& groups) {
  std::vector<int> unit(index.nodes().size());
  for (size_t node = 0; node < unit.size(); ++node) unit[node] = -1 - static_cast<int>(node);
  for (size_t group = 0; group < groups.size(); ++group) {
    for (const int node : groups[group]) unit[static_cast<size_t>(node)] = static_cast<int>(group);
  }
  std::vector<bool> done(index.nodes().size(), false);
  const auto ready = [&](size_t node) {
    return std::all_of(index.node(static_cast<int>(node)).inputs.begin(),
                       index.node(static_cast<int>(node)).inputs.end(), [&](int tensor) {
                         const int producer = index.tensor(tensor).producer;
                         return producer < 0 || done[static_cast<size_t>(producer)] ||
                                unit[static_cast<size_t>(producer)] == unit[node];
                       });
  };
  for (bool progress = true; progress;) {
    progress = false;
    for (size_t node = 0; node < done.size(); ++node) {
      if (done[node]) continue;
      bool all = true;
      for (size_t other = 0; other < done.size(); ++other) all &= unit[other] != unit[node] || ready(other);
      if (!all) continue;
      for (size_t other = 0; other < done.size(); ++other) {
        if (unit[other] == unit[node]) done[other] = true;
      }
      progress = true;
    }
  }
  return std::find(done.begin(), done.end(), false) == done.end();
}

TEST(ChainGroupsTest, GroupsNeverWaitForEachOther) {
  for (uint32_t seed = 0; seed < 60; ++seed) {
    const Model model = RandomModel(seed, 60);
    const GraphIndex index(model);
    std::mt19937 random(seed + 1000);
    std::vector<bool> fits(index.nodes().size());
    for (size_t node = 0; node < fits.size(); ++node) fits[node] = random() % 4 != 0;
    const auto groups = GroupNodes(index, fits);
    size_t members = 0;
    for (const auto& group : groups) {
      members += group.size();
      EXPECT_LE(group.size(), 32u);
      for (const int node : group) EXPECT_TRUE(fits[static_cast<size_t>(node)]);
    }
    EXPECT_EQ(members, static_cast<size_t>(std::count(fits.begin(), fits.end(), true)));
    EXPECT_TRUE(CanRun(index, groups)) << "seed " << seed;
  }
}

TEST(ChainGroupsTest, NeighboursAreOneGroup) {
  const Model model = RandomModel(1, 20);
  const GraphIndex index(model);
  EXPECT_EQ(GroupNodes(index, std::vector<bool>(20, true)).size(), 1u);
}

}  // namespace
}  // namespace halfsafe
