#pragma once

#include <span>
#include <vector>

#include "runtime/broadcast.h"
#include "runtime/chain.h"
#include "runtime/tap.h"

namespace halfsafe {

/// A chain made ready for inputs of given shapes. Steps whose results have one shape make a stage, which runs
/// block by block; almost every chain is a single stage. Smaller shapes come first, because a step never
/// reads a shape larger than its own.
class ChainPlan {
 public:
  /// Throws std::invalid_argument where operands don't broadcast. `chain` must outlive the plan.
  ChainPlan(const Chain& chain, std::vector<Shape> inputs);

  const std::vector<Shape>& input_shapes() const { return input_shapes_; }
  const Shape& output_shape(size_t output) const;

  /// Computes the outputs, the first of which may lie where input 0 does, and shows every observed tensor to
  /// `handler`.
  void Run(std::span<const float* const> inputs, std::span<float* const> outputs, TapHandler* handler,
           const Parallel& parallel) const;

 private:
  /// A value that a stage takes from memory: an input, or a result of an earlier stage.
  struct Source {
    size_t memory = 0;  ///< Inputs, outputs and temporaries are counted through.
    Layout layout;
    int watched = -1;  ///< Its position in the stage's `ids`.
  };
  /// A step. Operands are blocks: the constants, then the sources, then the results of the stage's steps.
  struct Work {
    ChainOp op = ChainOp::kAdd;
    size_t a = 0, b = 0;
    bool stored = false;  ///< Goes to `memory`, else to buffer `memory`.
    size_t memory = 0;
    int watched = -1;
  };
  struct Stage {
    Shape shape;
    size_t count = 0;
    std::vector<int> steps;
    std::vector<Source> sources;
    std::vector<Work> work;
    std::vector<int64_t> ids;  ///< Of the tensors that are observed here.
    size_t buffers = 0;        ///< Blocks that stay in the cache.
  };
  class Builder;
  struct Memory;

  void Order();
  void FindOverwritten();
  void RunStage(const Stage& stage, const Memory& memory, TapHandler* handler,
                const Parallel& parallel) const;
  void RunTask(const Stage& stage, const Memory& memory, size_t task, BlockSink* sink) const;

  const Chain& chain_;
  std::vector<Shape> input_shapes_;
  std::vector<Shape> step_shapes_;
  std::vector<Stage> stages_;
  std::vector<size_t> temporaries_;  ///< Elements of each.
  std::vector<int> unread_;  ///< Observed inputs whose shape is no stage's: they are looked at by themselves.
  bool overwritten_ = false;  ///< Input 0 is read after output 0 was written.
};

}  // namespace halfsafe
