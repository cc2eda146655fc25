#include "verify/output_rules.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <optional>
#include <span>

#include "model/graph_index.h"
#include "model/op_traits.h"
#include "model/walk.h"
#include "verify/compare.h"

namespace halfsafe {
namespace {

/// Indices whose norms lie further apart are different quantities.
constexpr double kFarApart = 100.0;
/// What is this much smaller than the largest of the output may be what rounding in FP32 leaves of a sum.
constexpr double kFp32Noise = 0x1p-20;

/// For each axis of an output, the axis of the tensor that it comes from; -1 where it isn't known.
using Axes = std::vector<int>;

/// Whether dimensions of two tensors hold equally many elements, as far as the model says.
bool SameSize(std::span<const int64_t> one, std::span<const int64_t> other) {
  const auto without_ones = [](std::span<const int64_t> dims) {
    std::vector<int64_t> rest;
    std::ranges::copy_if(dims, std::back_inserter(rest), [](int64_t dim) { return dim != 1; });
    return rest;
  };
  const auto a = without_ones(one), b = without_ones(other);
  if (a == b) return true;
  const auto known = [](const auto& dims) {
    return std::ranges::all_of(dims, [](int64_t dim) { return dim >= 0; });
  };
  const auto product = [](const auto& dims) {
    return std::accumulate(dims.begin(), dims.end(), 1.0, std::multiplies<>());
  };
  return known(a) && known(b) && product(a) == product(b);
}

/// The axis of `from` that `axis` of `to` is, where elements keep their order: of the same extent, with
/// equally many elements in front of it or behind it. Or the one that was divided so that it is the inner
/// part, as the classes are of a detector's channels for each anchor.
int SameAxis(const std::vector<int64_t>& from, const std::vector<int64_t>& to, int axis) {
  const std::span source(from), target(to);
  const auto at = static_cast<size_t>(axis);
  int divided = -1;
  for (size_t i = 0; i < source.size(); ++i) {
    if (source[i] == 1 || target[at] == 1) continue;
    const bool front = SameSize(source.first(i), target.first(at));
    const bool behind = SameSize(source.subspan(i + 1), target.subspan(at + 1));
    const bool known = source[i] >= 0 && target[at] > 0;
    if (source[i] == target[at] && (known ? front || behind : front && behind)) return static_cast<int>(i);
    if (known && behind && source[i] > target[at] && source[i] % target[at] == 0)
      divided = static_cast<int>(i);
  }
  return divided;
}

int Axis(const onnx::NodeProto& node, int64_t otherwise, size_t rank) {
  const int64_t axis = IntAttribute(node, "axis", otherwise);
  return static_cast<int>(axis < 0 ? axis + static_cast<int64_t>(rank) : axis);
}

/// Walks back from an output of a model.
class Walk {
 public:
  explicit Walk(const GraphIndex& index) : index_(index) {}

  /// The tensor that `tensor` has its values from, moved alone; -1 where a node computes them.
  int Source(int tensor, Axes* axes) const {
    const TensorInfo& to = index_.tensor(tensor);
    if (to.producer < 0 || to.producer_slot != 0) return -1;
    const NodeInfo& node = index_.node(to.producer);
    const std::string& op = node.proto->op_type();
    const bool moves = TraitsOf(*node.proto).values == Values::kPermuted || op == "Cast" || op == "Dropout";
    if (!moves || node.inputs.empty() || node.inputs[0] < 0) return -1;
    const TensorInfo& from = index_.tensor(node.inputs[0]);
    if (!from.has_rank || !to.has_rank) return -1;
    for (int& axis : *axes) {
      if (axis >= 0) axis = Moved(*node.proto, from, to, axis);
    }
    return node.inputs[0];
  }

  /// Behind all that only moves values.
  int Behind(int tensor, Axes* axes) const {
    for (int source = Source(tensor, axes); source >= 0; source = Source(tensor, axes)) tensor = source;
    return tensor;
  }

  const NodeInfo* Writer(int tensor) const {
    const int producer = index_.tensor(tensor).producer;
    return producer < 0 ? nullptr : &index_.node(producer);
  }

  /// Whether the values are on one scale: squashed, or normalized.
  bool OnOneScale(int tensor, Axes axes) const {
    const NodeInfo* writer = Writer(Behind(tensor, &axes));
    return writer != nullptr && (TraitsOf(*writer->proto).one_scale || DividesBySum(*writer));
  }

  /// Whether a function such as Sigmoid brought the values between -1 and 1.
  bool Squashed(int tensor, Axes axes) const {
    const NodeInfo* writer = Writer(Behind(tensor, &axes));
    if (writer == nullptr) return false;
    const OpTraits& traits = TraitsOf(*writer->proto);
    return (traits.one_scale && traits.sums != Sums::kSquares) || DividesBySum(*writer);
  }

  /// The operands of the Concat that `tensor` shows through operators that move values: those of the first
  /// one, and inside each those of others along the same axis. Where all operands are put together in the
  /// same way along another axis, as the levels of a pyramid are, it is that way that counts.
  std::optional<OutputLayout> Operands(int tensor, Axes axes) const {
    tensor = Behind(tensor, &axes);
    const NodeInfo* node = Writer(tensor);
    if (node == nullptr || node->proto->op_type() != "Concat" || !index_.tensor(tensor).has_rank)
      return std::nullopt;
    const int along = Axis(*node->proto, 0, index_.tensor(tensor).shape.size());
    const int axis = OutputAxis(axes, along);
    OutputLayout layout;
    layout.axis = axis;
    layout.concat = node->name;
    std::vector<std::optional<OutputLayout>> inside;
    int64_t begin = 0;
    for (const int operand : node->inputs) {
      inside.push_back(Operands(operand, axes));
      const TensorInfo& info = index_.tensor(operand);
      const int64_t size = info.has_rank ? info.shape.at(static_cast<size_t>(along)) : -1;
      if (size < 0) layout.axis = -1;
      const bool parted = inside.back() && inside.back()->axis == axis;
      const OutputLayout::Piece whole{{0, size}, Squashed(operand, axes)};
      for (const auto& piece : parted ? inside.back()->pieces : std::vector{whole})
        layout.pieces.push_back({{begin + piece.range.begin, begin + piece.range.end}, piece.squashed});
      begin += size;
    }
    const auto& first = inside.front();
    const bool alike = first && first->axis != axis && std::ranges::all_of(inside, [&](const auto& other) {
                         return other && other->axis == first->axis && other->pieces == first->pieces;
                       });
    if (alike) return first;
    if (layout.axis < 0 || layout.pieces.size() < 2) return std::nullopt;
    return layout;
  }

  /// The axis of an output along which different filters, columns of weights or quantities lie: that of the
  /// product nearest to it, through operators that leave axes as they are. That of a Concat, where what it
  /// puts together has no such axis in common.
  int Channels(int tensor, Axes axes) const {
    while (true) {
      tensor = Behind(tensor, &axes);
      const NodeInfo* node = Writer(tensor);
      const TensorInfo& info = index_.tensor(tensor);
      if (node == nullptr || !info.has_rank) return -1;
      if (node->proto->op_type() == "Concat") return ChannelsOfAll(*node, info.shape.size(), axes);
      if (TraitsOf(*node->proto).products != Products::kNone)
        return OutputAxis(axes, OwnChannels(*node, info.shape.size()));
      tensor = OperandOfSameAxes(*node, info);
      if (tensor < 0) return -1;
      const TensorInfo& from = index_.tensor(tensor);
      for (int& axis : axes) {
        const auto at = static_cast<size_t>(axis);
        if (axis >= 0 && from.shape[at] != info.shape[at]) axis = -1;
      }
    }
  }

 private:
  static int Moved(const onnx::NodeProto& node, const TensorInfo& from, const TensorInfo& to, int axis) {
    if (node.op_type() == "Transpose") {
      const auto* permutation = FindAttribute(node, "perm");
      return permutation == nullptr ? static_cast<int>(from.shape.size()) - 1 - axis
                                    : static_cast<int>(permutation->ints(axis));
    }
    if (node.op_type() == "DepthToSpace" || node.op_type() == "SpaceToDepth") return -1;
    return from.shape == to.shape ? axis : SameAxis(from.shape, to.shape, axis);
  }

  /// A Softmax or an L2 norm written out: the quotient of a tensor and a sum over it.
  bool DividesBySum(const NodeInfo& node) const {
    if (node.proto->op_type() != "Div" || node.inputs.size() != 2 || node.inputs[0] < 0) return false;
    int divisor = node.inputs[1];
    // Between them stand what broadcasts the sum, an epsilon and a root.
    for (int steps = 0; steps < 8 && divisor >= 0; ++steps) {
      const NodeInfo* writer = Writer(divisor);
      if (writer == nullptr || writer->inputs.empty()) return false;
      divisor = writer->inputs[0];
      if (TraitsOf(*writer->proto).sums == Sums::kNone) continue;
      const NodeInfo* summed = Writer(divisor);
      const bool square = summed != nullptr && !summed->inputs.empty() && summed->inputs[0] == node.inputs[0];
      return divisor == node.inputs[0] || square;
    }
    return false;
  }

  static int OutputAxis(const Axes& axes, int axis) {
    const auto found = axis < 0 ? axes.end() : std::ranges::find(axes, axis);
    return found == axes.end() ? -1 : static_cast<int>(found - axes.begin());
  }

  int ChannelsOfAll(const NodeInfo& concat, size_t rank, const Axes& axes) const {
    const int first = Channels(concat.inputs.front(), axes);
    const bool common = first >= 0 && std::ranges::all_of(concat.inputs, [&](int operand) {
                          return Channels(operand, axes) == first;
                        });
    return common ? first : OutputAxis(axes, Axis(*concat.proto, 0, rank));
  }

  static int OwnChannels(const NodeInfo& node, size_t rank) {
    switch (TraitsOf(*node.proto).products) {
      case Products::kConv:
      case Products::kConvTranspose:
        return 1;
      case Products::kMatMul:
      case Products::kGemm:
      case Products::kColumns:
      case Products::kRecurrent:
        return static_cast<int>(rank) - 1;
      default:
        return -1;
    }
  }

  /// The operand that is computed and has as many axes as the result.
  int OperandOfSameAxes(const NodeInfo& node, const TensorInfo& result) const {
    for (const int operand : node.inputs) {
      if (operand < 0) continue;
      const TensorInfo& info = index_.tensor(operand);
      if (info.kind != TensorKind::kConstant && info.has_rank && info.shape.size() == result.shape.size())
        return operand;
    }
    return -1;
  }

  const GraphIndex& index_;
};

/// Groups of indices, each in falling order of their norms, whose norms lie far apart; and how far, at most.
std::vector<std::vector<size_t>> FarApart(const std::vector<double>& norms, double* gap) {
  std::vector<size_t> order(norms.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::ranges::stable_sort(order, [&](size_t a, size_t b) { return norms[a] > norms[b]; });
  std::vector<std::vector<size_t>> groups;
  *gap = 1.0;
  for (size_t i = 0; i < order.size(); ++i) {
    const double norm = norms[order[i]];
    const double ratio = i > 0 && norm > kFp32Noise * norms[order[0]] ? norms[order[i - 1]] / norm : 1.0;
    *gap = std::max(*gap, ratio);
    if (i == 0 || ratio > kFarApart) groups.emplace_back();
    groups.back().push_back(order[i]);
  }
  return groups;
}

OutputPart PartOf(std::vector<size_t> indices) {
  std::ranges::sort(indices);
  OutputPart part;
  for (const size_t at : indices) {
    const auto index = static_cast<int64_t>(at);
    if (part.ranges.empty() || part.ranges.back().end != index) part.ranges.push_back({index, index});
    ++part.ranges.back().end;
  }
  return part;
}

/// Fills in the norms of the parts.
void Measure(const std::vector<double>& squares, OutputRule* rule) {
  const size_t indices = squares.size() / rule->parts.size();
  for (size_t i = 0; i < rule->parts.size(); ++i) {
    const std::span slots = std::span(squares).subspan(i * indices, indices);
    rule->parts[i].largest = std::sqrt(std::accumulate(slots.begin(), slots.end(), 0.0));
    if (!slots.empty()) rule->parts[i].largest_index = std::sqrt(*std::ranges::max_element(slots));
  }
}

int64_t Extent(const std::vector<int64_t>& shape, int axis) { return shape[static_cast<size_t>(axis)]; }

}  // namespace

OutputLayout LayoutOf(const Model& model, const std::string& output) {
  const GraphIndex& index = model.index();
  const int tensor = index.FindTensor(0, output);
  if (tensor < 0 || !index.tensor(tensor).has_rank) return {};
  const Walk walk(index);
  Axes axes(index.tensor(tensor).shape.size());
  std::iota(axes.begin(), axes.end(), 0);
  OutputLayout layout = walk.Operands(tensor, axes).value_or(OutputLayout{});
  layout.channels = walk.Channels(tensor, axes);
  layout.one_scale = walk.OnOneScale(tensor, axes);
  layout.squashed = walk.Squashed(tensor, axes);
  return layout;
}

RuleFinder::RuleFinder(const Model& original) {
  for (const auto& output : original.proto().graph().output())
    outputs_.push_back({output.name(), LayoutOf(original, output.name()), true, {}, {}});
}

void RuleFinder::Add(const std::vector<OutputView>& outputs) {
  for (size_t i = 0; i < outputs.size(); ++i) Add(outputs[i], &outputs_[i]);
}

/// The ways in which an output of this shape may be judged: the one that the graph shows, or index by index.
std::vector<OutputRule> RuleFinder::Choices(const Output& output, const std::vector<int64_t>& shape) {
  const OutputLayout& layout = output.layout;
  std::vector<OutputRule> rules;
  // Along another axis than that of channels a Concat puts the same quantities of other places.
  const bool parted = layout.axis >= 0 && (layout.channels < 0 || layout.channels == layout.axis);
  if (parted && Extent(shape, layout.axis) == layout.pieces.back().range.end) {
    OutputRule& rule = rules.emplace_back();
    rule.axis = rule.index_axis = layout.axis;
    for (const auto& piece : layout.pieces) rule.parts.push_back({{piece.range}, 0.0, 0.0});
    rule.origin = layout.concat;
    return rules;
  }
  if (!parted && layout.axis >= 0 && Extent(shape, layout.axis) == layout.pieces.back().range.end) {
    OutputRule& rule = rules.emplace_back();  // Unless their norms say that they are different quantities.
    rule.axis = layout.axis;
    rule.index_axis = layout.channels;
    for (const auto& piece : layout.pieces) rule.parts.push_back({{piece.range}, 0.0, 0.0});
  }
  for (int axis = shape.size() > 1 ? 1 : 0; axis < static_cast<int>(shape.size()); ++axis) {
    if (layout.channels >= 0 && axis != layout.channels) continue;
    OutputRule& rule = rules.emplace_back();
    rule.axis = rule.index_axis = axis;
    rule.parts.push_back({{{0, Extent(shape, axis)}}, 0.0, 0.0});
  }
  return rules;
}

void RuleFinder::Add(const OutputView& view, Output* output) {
  if (!output->told_apart) return;
  const TensorView& tensor = view.tensors.front();
  output->told_apart = !view.sequence && IsFloat(tensor.dtype) && !tensor.shape.empty();
  if (!output->told_apart) return;
  if (output->shape.empty()) {
    output->shape = tensor.shape;
    for (OutputRule& rule : Choices(*output, tensor.shape)) output->choices.push_back({std::move(rule), {}});
  }
  // An axis whose extent differs from sample to sample, as of positions, has no indices that mean one thing.
  std::erase_if(output->choices, [&](const Choice& choice) {
    const auto same = [&](int axis) { return Extent(tensor.shape, axis) == Extent(output->shape, axis); };
    return tensor.shape.size() != output->shape.size() || !same(choice.rule.axis) ||
           !same(choice.rule.index_axis);
  });
  for (Choice& choice : output->choices) {
    const std::vector<double> sums = SumsOfSquares(tensor, choice.rule);
    choice.largest.resize(sums.size());
    std::ranges::transform(sums, choice.largest, choice.largest.begin(),
                           [](double sum, double largest) { return std::max(sum, largest); });
  }
}

std::vector<OutputRule> RuleFinder::Rules() const {
  std::vector<OutputRule> rules;
  for (const Output& output : outputs_) rules.push_back(RuleOf(output));
  return rules;
}

/// A choice whose one part is told apart by the norms of its indices, where these lie far apart.
RuleFinder::Choice RuleFinder::ToldApart(const Choice& choice, double* gap) {
  std::vector<double> norms = choice.largest;
  for (double& norm : norms) norm = std::sqrt(norm);
  Choice result{choice.rule, {}};
  result.rule.parts.clear();
  auto groups = FarApart(norms, gap);
  std::ranges::sort(groups, {}, [](const auto& group) { return std::ranges::min(group); });
  for (const auto& group : groups) {
    result.rule.parts.push_back(PartOf(group));
    std::vector<double> own(choice.largest.size(), 0.0);
    for (const size_t index : group) own[index] = choice.largest[index];
    result.largest.insert(result.largest.end(), own.begin(), own.end());
  }
  if (result.rule.parts.size() > 1)
    result.rule.origin = fmt::format("norms that lie {:.2g} times apart", *gap);
  return result;
}

/// How far the norms of a rule's parts lie apart at most, and its origin where that is far.
double RuleFinder::GapOfParts(const Output& output, Choice* choice) {
  std::vector<double> norms;
  Measure(choice->largest, &choice->rule);
  for (const OutputPart& part : choice->rule.parts) norms.push_back(part.largest);
  double gap = 1.0;
  if (FarApart(norms, &gap).size() == 1) return 0.0;
  choice->rule.origin = output.layout.concat;
  return gap;
}

OutputRule RuleFinder::RuleOf(const Output& output) {
  Choice best;
  double widest = 0.0;
  for (const Choice& choice : output.choices) {
    const bool shown = !choice.rule.origin.empty();
    double gap = 1.0;
    const bool stacked = !shown && choice.rule.parts.size() > 1;
    Choice apart = shown || stacked || output.layout.one_scale ? choice : ToldApart(choice, &gap);
    if (stacked) gap = GapOfParts(output, &apart);
    // Without a sign of what lies along an axis, it is looked at only where its indices are that different.
    const bool useful = shown || output.layout.channels >= 0 || apart.rule.parts.size() > 1;
    if (!useful || gap <= widest) continue;
    widest = gap;
    best = std::move(apart);
  }
  if (!best.rule.parts.empty()) Measure(best.largest, &best.rule);
  for (size_t i = 0; i < best.rule.parts.size(); ++i) {
    const bool pieces = !output.layout.concat.empty() && best.rule.origin == output.layout.concat;
    if (pieces ? !output.layout.pieces[i].squashed : !output.layout.squashed) continue;
    // What samples could show, although these may not: a single 1.
    OutputPart& part = best.rule.parts[i];
    part.largest = std::max(part.largest, 1.0);
    part.largest_index = std::max(part.largest_index, 1.0);
  }
  best.rule.output = output.name;
  return best.rule;
}

std::vector<uint32_t> SlotsOf(const OutputRule& rule, const std::vector<int64_t>& shape) {
  const int last = static_cast<int>(shape.size()) - 1;
  if (rule.parts.empty() || std::max(rule.axis, rule.index_axis) > last) return {};
  const int64_t extent = Extent(shape, rule.axis), indices = Extent(shape, rule.index_axis);
  std::vector<int64_t> part_at(static_cast<size_t>(extent), -1);
  for (size_t part = 0; part < rule.parts.size(); ++part) {
    for (const IndexRange& range : rule.parts[part].ranges) {
      if (range.end > extent) return {};
      std::fill(part_at.begin() + range.begin, part_at.begin() + range.end, static_cast<int64_t>(part));
    }
  }
  const auto behind = [&](int axis) {
    return std::accumulate(shape.begin() + axis + 1, shape.end(), int64_t{1}, std::multiplies<>());
  };
  const int first = std::min(rule.axis, rule.index_axis);
  const int64_t period = behind(first) * Extent(shape, first), part_stride = behind(rule.axis),
                index_stride = behind(rule.index_axis);
  std::vector<uint32_t> slots(static_cast<size_t>(period));
  for (int64_t i = 0; i < period; ++i) {
    const int64_t part = part_at[static_cast<size_t>(i / part_stride % extent)];
    const int64_t index = i / index_stride % indices;
    slots[static_cast<size_t>(i)] = part < 0 ? kNoSlot : static_cast<uint32_t>(part * indices + index);
  }
  return slots;
}

size_t SlotCount(const OutputRule& rule, const std::vector<int64_t>& shape) {
  return rule.parts.size() * static_cast<size_t>(Extent(shape, rule.index_axis));
}

std::vector<double> SumsOfSquares(const TensorView& tensor, const OutputRule& rule) {
  const std::vector<uint32_t> slots = SlotsOf(rule, tensor.shape);
  std::vector<double> sums(SlotCount(rule, tensor.shape), 0.0);
  const double masked = MaskedBelow(tensor);
  for (size_t i = 0; i < tensor.count; ++i) {
    const uint32_t slot = slots[i % slots.size()];
    const double value = ValueAt(tensor, i);
    if (slot != kNoSlot && std::isfinite(value) && value > masked) sums[slot] += value * value;
  }
  return sums;
}

}  // namespace halfsafe
