#include "runtime/chain_plan.h"

#include <algorithm>
#include <map>

#include "runtime/chain_kernel.h"

namespace halfsafe {
namespace {

/// Values of a block: its results of a few steps stay in the second-level cache, and its statistics are
/// gathered at the speed of a large tensor's.
constexpr size_t kBlock = 4096;

using Kind = ChainOperand::Kind;

/// Grows with every dimension that broadcasting widens.
size_t Width(const Shape& shape) {
  return shape.size() +
         static_cast<size_t>(std::count_if(shape.begin(), shape.end(), [](int64_t dim) { return dim != 1; }));
}

/// Space for blocks, which a thread keeps for the next chain.
float* Buffers(size_t blocks) {
  thread_local std::vector<float> space;
  if (space.size() < blocks * kBlock) space.resize(blocks * kBlock);
  return space.data();
}

}  // namespace

struct ChainPlan::Memory {
  std::vector<const float*> read;
  std::vector<float*> write;  ///< nullptr for inputs.
};

/// Fills one stage after the other.
class ChainPlan::Builder {
 public:
  Builder(ChainPlan* plan, const Chain& chain) : plan_(plan), chain_(chain) {
    stage_of_.assign(chain.steps.size(), 0);
    for (size_t number = 0; number < plan->stages_.size(); ++number) {
      for (const int step : plan->stages_[number].steps) stage_of_[static_cast<size_t>(step)] = number;
    }
    last_use_.assign(chain.steps.size(), -1);
    memory_.assign(chain.steps.size(), -1);
    for (size_t step = 0; step < chain.steps.size(); ++step) {
      for (const ChainOperand& operand : {chain.steps[step].a, chain.steps[step].b}) {
        if (operand.kind != Kind::kStep) continue;
        const size_t source = static_cast<size_t>(operand.index);
        last_use_[source] = static_cast<int>(step);
        if (stage_of_[source] != stage_of_[step]) memory_[source] = kWanted;
      }
    }
    for (size_t i = 0; i < chain.outputs.size(); ++i)
      memory_[static_cast<size_t>(chain.outputs[i])] = static_cast<int>(chain.inputs.size() + i);
    for (size_t step = 0; step < chain.steps.size(); ++step) {
      if (memory_[step] != kWanted) continue;
      memory_[step] =
          static_cast<int>(chain.inputs.size() + chain.outputs.size() + plan->temporaries_.size());
      plan->temporaries_.push_back(ElementCount(plan->step_shapes_[step]));
    }
    seen_.assign(chain.inputs.size(), false);
  }

  void Build(size_t number) {
    stage_ = &plan_->stages_[number];
    number_ = number;
    sources_.clear();
    for (const int step : stage_->steps) {
      AddSource(chain_.steps[static_cast<size_t>(step)].a);
      AddSource(chain_.steps[static_cast<size_t>(step)].b);
    }
    // Each source may need a buffer of its own to be spread over.
    stage_->buffers = stage_->sources.size();
    free_.clear();
    for (const int step : stage_->steps) AddWork(step);
  }

  std::vector<int> unread() const {
    std::vector<int> result;
    for (size_t i = 0; i < seen_.size(); ++i) {
      if (chain_.inputs[i] >= 0 && !seen_[i]) result.push_back(static_cast<int>(i));
    }
    return result;
  }

 private:
  static constexpr int kWanted = -2;

  bool IsHere(const ChainOperand& operand) const {
    return operand.kind == Kind::kStep && stage_of_[static_cast<size_t>(operand.index)] == number_;
  }

  size_t MemoryOf(const ChainOperand& operand) const {
    return static_cast<size_t>(operand.kind == Kind::kInput ? operand.index
                                                            : memory_[static_cast<size_t>(operand.index)]);
  }

  void AddSource(const ChainOperand& operand) {
    if (operand.kind == Kind::kConstant || IsHere(operand)) return;
    const size_t memory = MemoryOf(operand);
    if (std::find(sources_.begin(), sources_.end(), memory) != sources_.end()) return;
    const size_t index = static_cast<size_t>(operand.index);
    const bool input = operand.kind == Kind::kInput;
    Source source{
        memory, Layout(input ? plan_->input_shapes_[index] : plan_->step_shapes_[index], stage_->shape), -1};
    if (input && source.layout.same() && !seen_[index] && chain_.inputs[index] >= 0) {
      seen_[index] = true;
      source.watched = Watch(chain_.inputs[index]);
    }
    sources_.push_back(memory);
    stage_->sources.push_back(std::move(source));
  }

  size_t BlockOf(const ChainOperand& operand) const {
    const size_t index = static_cast<size_t>(operand.index);
    if (operand.kind == Kind::kConstant) return index;
    const size_t constants = chain_.constants.size();
    if (IsHere(operand)) {
      const auto found = std::find(stage_->steps.begin(), stage_->steps.end(), operand.index);
      return constants + sources_.size() + static_cast<size_t>(found - stage_->steps.begin());
    }
    const auto found = std::find(sources_.begin(), sources_.end(), MemoryOf(operand));
    return constants + static_cast<size_t>(found - sources_.begin());
  }

  void AddWork(int number) {
    const ChainStep& step = chain_.steps[static_cast<size_t>(number)];
    Work work{step.op, BlockOf(step.a), BlockOf(step.b), false, 0, -1};
    // A result may take the buffer of an operand that nobody reads any more.
    for (const ChainOperand& operand : {step.a, step.b}) Release(operand, number);
    const int memory = memory_[static_cast<size_t>(number)];
    work.stored = memory >= 0;
    work.memory = work.stored ? static_cast<size_t>(memory) : NewBuffer();
    if (!work.stored) buffer_of_[number] = work.memory;
    if (step.id >= 0) work.watched = Watch(step.id);
    stage_->work.push_back(work);
  }

  void Release(const ChainOperand& operand, int reader) {
    if (!IsHere(operand) || last_use_[static_cast<size_t>(operand.index)] != reader) return;
    if (const auto buffer = buffer_of_.find(operand.index); buffer != buffer_of_.end()) {
      free_.push_back(buffer->second);
      buffer_of_.erase(buffer);
    }
  }

  size_t NewBuffer() {
    if (free_.empty()) return stage_->buffers++;
    const size_t buffer = free_.back();
    free_.pop_back();
    return buffer;
  }

  int Watch(int64_t id) {
    stage_->ids.push_back(id);
    return static_cast<int>(stage_->ids.size()) - 1;
  }

  ChainPlan* plan_;
  const Chain& chain_;
  std::vector<size_t> stage_of_;
  std::vector<int> last_use_;  ///< Per step, the last step that reads it.
  std::vector<int> memory_;    ///< Per step, where its result goes to memory; -1 where it doesn't.
  std::vector<bool> seen_;     ///< Per input, whether a stage observes it.
  Stage* stage_ = nullptr;
  size_t number_ = 0;
  std::vector<size_t> sources_;  ///< Memory of each source of the stage.
  std::vector<size_t> free_;     ///< Buffers.
  std::map<int, size_t> buffer_of_;
};

ChainPlan::ChainPlan(const Chain& chain, std::vector<Shape> inputs)
    : chain_(chain), input_shapes_(std::move(inputs)) {
  const auto shape_of = [&](const ChainOperand& operand) -> Shape {
    if (operand.kind == Kind::kConstant) return {};
    const auto& shapes = operand.kind == Kind::kInput ? input_shapes_ : step_shapes_;
    return shapes[static_cast<size_t>(operand.index)];
  };
  for (const ChainStep& step : chain.steps)
    step_shapes_.push_back(Broadcast(shape_of(step.a), shape_of(step.b)));
  Order();
  Builder builder(this, chain);
  for (size_t number = 0; number < stages_.size(); ++number) builder.Build(number);
  unread_ = builder.unread();
  FindOverwritten();
}

const Shape& ChainPlan::output_shape(size_t output) const {
  return step_shapes_[static_cast<size_t>(chain_.outputs[output])];
}

/// Deals the steps out to stages.
void ChainPlan::Order() {
  for (size_t step = 0; step < step_shapes_.size(); ++step) {
    const Shape& shape = step_shapes_[step];
    auto stage = std::find_if(stages_.begin(), stages_.end(),
                              [&](const Stage& candidate) { return candidate.shape == shape; });
    if (stage == stages_.end()) {
      stages_.emplace_back();
      stage = stages_.end() - 1;
      stage->shape = shape;
      stage->count = ElementCount(shape);
    }
    stage->steps.push_back(static_cast<int>(step));
  }
  std::stable_sort(stages_.begin(), stages_.end(), [](const Stage& one, const Stage& other) {
    return Width(one.shape) < Width(other.shape);
  });
}

/// Looks for readers of input 0 behind the step that writes output 0.
void ChainPlan::FindOverwritten() {
  if (chain_.inputs.empty() || chain_.outputs.empty()) return;
  bool written = false;
  for (const Stage& stage : stages_) {
    for (size_t i = 0; i < stage.steps.size(); ++i) {
      const ChainStep& step = chain_.steps[static_cast<size_t>(stage.steps[i])];
      for (const ChainOperand& operand : {step.a, step.b})
        overwritten_ |= written && operand.kind == Kind::kInput && operand.index == 0;
      written |= stage.steps[i] == chain_.outputs[0];
    }
  }
}

void ChainPlan::Run(std::span<const float* const> inputs, std::span<float* const> outputs,
                    TapHandler* handler, const Parallel& parallel) const {
  Memory memory;
  std::vector<float> first;
  memory.read.assign(inputs.begin(), inputs.end());
  memory.write.assign(inputs.size(), nullptr);
  if (overwritten_ && inputs[0] == outputs[0]) {
    first.assign(inputs[0], inputs[0] + ElementCount(input_shapes_[0]));
    memory.read[0] = first.data();
  }
  std::vector<std::vector<float>> temporaries;
  temporaries.reserve(temporaries_.size());
  memory.write.insert(memory.write.end(), outputs.begin(), outputs.end());
  for (const size_t count : temporaries_) memory.write.push_back(temporaries.emplace_back(count).data());
  memory.read.insert(memory.read.end(), memory.write.begin() + static_cast<std::ptrdiff_t>(inputs.size()),
                     memory.write.end());

  for (const int input : unread_) {
    Stage alone;
    alone.count = ElementCount(input_shapes_[static_cast<size_t>(input)]);
    alone.ids = {chain_.inputs[static_cast<size_t>(input)]};
    alone.sources.push_back({static_cast<size_t>(input), Layout({}, {}), 0});
    RunStage(alone, memory, handler, parallel);
  }
  for (const Stage& stage : stages_) RunStage(stage, memory, handler, parallel);
}

void ChainPlan::RunStage(const Stage& stage, const Memory& memory, TapHandler* handler,
                         const Parallel& parallel) const {
  const size_t tasks = (stage.count + kTaskValues - 1) / kTaskValues;
  const std::unique_ptr<BlockSink> sink = stage.ids.empty() ? nullptr : handler->Watch(stage.ids, tasks);
  if (tasks < 2) {
    for (size_t task = 0; task < tasks; ++task) RunTask(stage, memory, task, sink.get());
  } else {
    parallel(tasks, [&](size_t task) { RunTask(stage, memory, task, sink.get()); });
  }
  if (sink) sink->Finish();
}

void ChainPlan::RunTask(const Stage& stage, const Memory& memory, size_t task, BlockSink* sink) const {
  float* buffers = Buffers(stage.buffers);
  std::vector<OperandBlock> blocks(chain_.constants.size() + stage.sources.size() + stage.work.size());
  for (size_t i = 0; i < chain_.constants.size(); ++i) blocks[i] = {&chain_.constants[i], true};
  const size_t end = std::min(stage.count, (task + 1) * kTaskValues);
  for (size_t begin = task * kTaskValues; begin < end; begin += kBlock) {
    const size_t count = std::min(kBlock, end - begin);
    OperandBlock* block = blocks.data() + chain_.constants.size();
    for (size_t i = 0; i < stage.sources.size(); ++i) {
      const Source& source = stage.sources[i];
      *block = source.layout.Fetch(memory.read[source.memory], begin, count, buffers + i * kBlock);
      if (source.watched >= 0) sink->Add(task, static_cast<size_t>(source.watched), block->values, count);
      ++block;
    }
    for (const Work& work : stage.work) {
      float* out = work.stored ? memory.write[work.memory] + begin : buffers + work.memory * kBlock;
      ApplyStep(work.op, blocks[work.a], blocks[work.b], count, out);
      *block++ = {out, false};
      if (work.watched >= 0) sink->Add(task, static_cast<size_t>(work.watched), out, count);
    }
  }
}

}  // namespace halfsafe
