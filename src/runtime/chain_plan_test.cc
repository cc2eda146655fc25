#include "runtime/chain_plan.h"

#include <gtest/gtest.h>

#include <map>
#include <mutex>
#include <random>
#include <stdexcept>

namespace halfsafe {
namespace {

using Kind = ChainOperand::Kind;

constexpr ChainOperand In(int index) { return {Kind::kInput, index}; }
constexpr ChainOperand Number(int index) { return {Kind::kConstant, index}; }
constexpr ChainOperand Result(int index) { return {Kind::kStep, index}; }

/// Keeps every observed tensor whole.
class Recorder : public TapHandler {
 public:
  void Process(const Tap&) override {}
  std::unique_ptr<BlockSink> Watch(std::span<const int64_t> ids, size_t tasks) override {
    return std::make_unique<Sink>(this, ids, tasks);
  }

  std::map<int64_t, std::vector<float>> seen;

 private:
  struct Sink : BlockSink {
    Sink(Recorder* recorder, std::span<const int64_t> tensors, size_t tasks)
        : owner(recorder), ids(tensors), parts(tasks * tensors.size()) {}
    void Add(size_t task, size_t which, const float* values, size_t count) override {
      auto& part = parts[task * ids.size() + which];
      part.insert(part.end(), values, values + count);
    }
    void Finish() override {
      for (size_t which = 0; which < ids.size(); ++which) {
        EXPECT_FALSE(owner->seen.contains(ids[which])) << "observed twice";
        auto& whole = owner->seen[ids[which]];
        for (size_t part = which; part < parts.size(); part += ids.size())
          whole.insert(whole.end(), parts[part].begin(), parts[part].end());
      }
    }
    Recorder* owner;
    std::span<const int64_t> ids;
    std::vector<std::vector<float>> parts;
  };
};

struct Tensor {
  Shape shape;
  std::vector<float> values;

  /// The value under the element at `place` of a tensor of shape `result`.
  float At(const Shape& result, size_t place) const {
    size_t offset = 0, stride = 1;
    for (size_t i = 0; i < result.size(); ++i) {
      const size_t at = place % static_cast<size_t>(result[result.size() - 1 - i]);
      place /= static_cast<size_t>(result[result.size() - 1 - i]);
      if (i >= shape.size()) continue;
      const int64_t dim = shape[shape.size() - 1 - i];
      if (dim > 1) offset += at * stride;
      stride *= static_cast<size_t>(dim);
    }
    return values[offset];
  }
};

Tensor Random(Shape shape, uint32_t seed) {
  std::mt19937 random(seed);
  std::uniform_real_distribution<float> uniform(-2.0f, 2.0f);
  Tensor tensor{std::move(shape), {}};
  tensor.values.resize(ElementCount(tensor.shape));
  for (float& value : tensor.values) value = uniform(random);
  return tensor;
}

/// Every step by itself, element by element.
std::vector<Tensor> Plain(const Chain& chain, const std::vector<Tensor>& inputs) {
  std::vector<Tensor> results;
  for (const ChainStep& step : chain.steps) {
    const auto operand = [&](const ChainOperand& from) -> Tensor {
      const size_t index = static_cast<size_t>(from.index);
      if (from.kind == Kind::kConstant) return {{}, {chain.constants[index]}};
      return from.kind == Kind::kInput ? inputs[index] : results[index];
    };
    const Tensor a = operand(step.a), b = operand(step.b);
    Tensor result{Broadcast(a.shape, b.shape), {}};
    result.values.resize(ElementCount(result.shape));
    for (size_t i = 0; i < result.values.size(); ++i) {
      const float left = a.At(result.shape, i), right = b.At(result.shape, i);
      ApplyStepScalar(step.op, {&left, true}, {&right, true}, 1, &result.values[i]);
    }
    results.push_back(std::move(result));
  }
  return results;
}

/// Runs tasks in reverse, because their order must not matter.
void Backwards(size_t tasks, const std::function<void(size_t)>& task) {
  while (tasks-- > 0) task(tasks);
}

void Check(const Chain& chain, std::vector<Tensor> inputs, bool in_place) {
  const std::vector<Tensor> expected = Plain(chain, inputs);
  const std::vector<Tensor> given = inputs;
  std::vector<Shape> shapes;
  for (const Tensor& input : inputs) shapes.push_back(input.shape);
  const ChainPlan plan(chain, shapes);
  std::vector<const float*> in;
  for (const Tensor& input : inputs) in.push_back(input.values.data());
  std::vector<std::vector<float>> results;
  std::vector<float*> out;
  for (size_t i = 0; i < chain.outputs.size(); ++i) {
    const Tensor& wanted = expected[static_cast<size_t>(chain.outputs[i])];
    EXPECT_EQ(plan.output_shape(i), wanted.shape);
    out.push_back(results.emplace_back(wanted.values.size()).data());
  }
  if (in_place) out[0] = inputs[0].values.data();
  Recorder recorder;
  plan.Run(in, out, &recorder, Backwards);
  for (size_t i = 0; i < chain.outputs.size(); ++i) {
    const std::vector<float>& wanted = expected[static_cast<size_t>(chain.outputs[i])].values;
    EXPECT_EQ(std::vector<float>(out[i], out[i] + wanted.size()), wanted) << "output " << i;
  }
  for (size_t i = 0; i < chain.inputs.size(); ++i) {
    if (chain.inputs[i] < 0) continue;
    EXPECT_EQ(recorder.seen[chain.inputs[i]], given[i].values) << "input " << i;
  }
  for (size_t i = 0; i < chain.steps.size(); ++i) {
    if (chain.steps[i].id < 0) continue;
    EXPECT_EQ(recorder.seen[chain.steps[i].id], expected[i].values) << "step " << i;
  }
}

/// Hard swish: x * min(6, max(0, x + 3)) / 6, with each result but the limit's observed.
Chain HardSwish() {
  return {{100},
          {3.0f, 0.0f, 6.0f},
          {{ChainOp::kAdd, In(0), Number(0), 0},
           {ChainOp::kMax, Number(1), Result(0), -1},
           {ChainOp::kMin, Number(2), Result(1), 1},
           {ChainOp::kMul, In(0), Result(2), 2},
           {ChainOp::kDiv, Result(3), Number(2), 3}},
          {4, 2}};
}

TEST(ChainPlanTest, OneShape) {
  for (const int64_t size : {0, 1, 5, 4096, 4097, 16384, 16385, 100000}) {
    Check(HardSwish(), {Random({size}, 1)}, false);
    Check(HardSwish(), {Random({size}, 1)}, true);
  }
}

TEST(ChainPlanTest, InputIsReadAfterTheOutputInItsPlaceWasWritten) {
  const Chain chain{
      {7}, {2.0f}, {{ChainOp::kMul, In(0), Number(0), 0}, {ChainOp::kAdd, In(0), Result(0), 1}}, {0, 1}};
  Check(chain, {Random({20000}, 1)}, true);
}

TEST(ChainPlanTest, BroadcastOperands) {
  const Chain chain{
      {0, 1}, {}, {{ChainOp::kSub, In(0), In(1), 2}, {ChainOp::kMul, In(1), Result(0), 3}}, {1}};
  const Shape full = {2, 5, 70, 66};
  for (const Shape& other : std::vector<Shape>{{},
                                               {1},
                                               {66},
                                               {70, 66},
                                               {70, 1},
                                               {5, 1, 1},
                                               {2, 1, 1, 1},
                                               {2, 5, 1, 1},
                                               {5, 1, 66},
                                               {2, 1, 70, 1},
                                               {1, 2, 1, 1, 1},
                                               {3, 1, 1, 1, 1},
                                               {4, 1, 5, 1, 66}}) {
    Check(chain, {Random(full, 1), Random(other, 2)}, false);
    Check(chain, {Random(other, 2), Random(full, 1)}, false);
  }
}

TEST(ChainPlanTest, StagesOfSeveralShapes) {
  // (a + b) and (a * c) have different shapes, and meet in a third.
  const Chain chain{{0, 1, 2},
                    {0.5f},
                    {{ChainOp::kAdd, In(0), In(1), 3},
                     {ChainOp::kMul, In(0), In(2), 4},
                     {ChainOp::kAdd, Result(0), Result(1), 5},
                     {ChainOp::kMul, In(0), Number(0), 6},
                     {ChainOp::kSub, Result(2), Result(3), -1},
                     {ChainOp::kAbs, Result(4), Result(4), 7}},
                    {5, 3, 0}};
  Check(chain, {Random({7, 1, 30}, 1), Random({40, 1}, 2), Random({3, 1, 1, 30}, 3)}, false);
  Check(chain, {Random({7, 40, 30}, 1), Random({40, 1}, 2), Random({1, 30}, 3)}, true);
  Check(chain, {Random({7, 0, 30}, 1), Random({1, 1}, 2), Random({1, 30}, 3)}, false);
}

TEST(ChainPlanTest, ShapesThatDoNotBroadcastAreRefused) {
  const Chain chain{{-1, -1}, {}, {{ChainOp::kAdd, In(0), In(1), -1}}, {0}};
  EXPECT_THROW(ChainPlan(chain, {{2, 3}, {4}}), std::invalid_argument);
}

}  // namespace
}  // namespace halfsafe
