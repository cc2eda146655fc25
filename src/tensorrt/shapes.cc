#include "tensorrt/shapes.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cstring>
#include <map>

#include "base/text.h"
#include "data/array.h"
#include "halfsafe/error.h"

namespace halfsafe {
namespace {

constexpr size_t kMostShapeValues = 64;  // TensorRT's limit for tensors that decide shapes.

std::vector<std::string_view> Split(std::string_view text, char separator) {
  std::vector<std::string_view> parts;
  for (size_t begin = 0;;) {
    const size_t end = text.find(separator, begin);
    parts.push_back(text.substr(begin, end - begin));
    if (end == std::string_view::npos) return parts;
    begin = end + 1;
  }
}

std::vector<int64_t> ParseShape(std::string_view text, std::string_view whole) {
  std::vector<int64_t> shape;
  for (const std::string_view size : Split(text, 'x')) {
    int64_t value = -1;
    const auto [end, error] = std::from_chars(size.data(), size.data() + size.size(), value);
    if (error != std::errc() || end != size.data() + size.size() || value < 0) {
      throw BadUsage(fmt::format("--shapes {}: expected sizes as in 1x3x224x224, got '{}'", whole, text));
    }
    shape.push_back(value);
  }
  return shape;
}

ShapeRange ParseRange(std::string_view text) {
  // A name may hold '=' and ':', a shape doesn't.
  const size_t equals = text.rfind('=');
  if (equals == std::string_view::npos || equals == 0)
    throw BadUsage(fmt::format("--shapes {}: expected INPUT=MIN:OPT:MAX or INPUT=SHAPE", text));
  const std::vector<std::string_view> shapes = Split(text.substr(equals + 1), ':');
  if (shapes.size() != 1 && shapes.size() != 3) {
    throw BadUsage(
        fmt::format("--shapes {}: expected one shape or MIN:OPT:MAX, got {} shapes", text, shapes.size()));
  }
  ShapeRange range{std::string(text.substr(0, equals)), {}, {}, {}};
  range.min = ParseShape(shapes.front(), text);
  range.opt = ParseShape(shapes[shapes.size() / 2], text);
  range.max = ParseShape(shapes.back(), text);
  return range;
}

/// The integers of a small array, which may be what decides shapes.
std::vector<int64_t> Integers(const Array& array) {
  const size_t count = array.bytes.size() / DTypeSize(array.dtype);
  std::vector<int64_t> values(count);
  for (size_t i = 0; i < count; ++i) {
    if (array.dtype == DType::kInt64) {
      std::memcpy(&values[i], array.bytes.data() + i * sizeof(int64_t), sizeof(int64_t));
    } else {
      int32_t value = 0;
      std::memcpy(&value, array.bytes.data() + i * sizeof(int32_t), sizeof(int32_t));
      values[i] = value;
    }
  }
  return values;
}

bool MayDecideShapes(const Array& array) {
  return (array.dtype == DType::kInt64 || array.dtype == DType::kInt32) && array.shape.size() <= 1 &&
         array.bytes.size() <= kMostShapeValues * DTypeSize(array.dtype);
}

/// Least, commonest and largest of vectors of one length; nothing when lengths differ.
struct Span {
  std::vector<int64_t> min, max;
  std::map<std::vector<int64_t>, uint64_t> counts;
  std::vector<int64_t> commonest;
  bool uneven = false;

  void Add(const std::vector<int64_t>& values) {
    if (counts.empty()) min = max = commonest = values;
    if (values.size() != min.size()) {
      uneven = true;
      return;
    }
    for (size_t i = 0; i < values.size(); ++i) {
      min[i] = std::min(min[i], values[i]);
      max[i] = std::max(max[i], values[i]);
    }
    const uint64_t count = ++counts[values];
    if (count > counts[commonest]) commonest = values;
  }
};

bool HasFreeDimensions(const InputSpec& input) {
  return input.any_rank || std::find(input.shape.begin(), input.shape.end(), -1) != input.shape.end();
}

void CheckRange(const InputSpec& input, const ShapeRange& range) {
  const auto complain = [&](const std::string& what) {
    throw BadUsage(fmt::format("--shapes: input {} {}", input.name, what));
  };
  for (const auto* shape : {&range.min, &range.opt, &range.max}) {
    if (!input.any_rank && shape->size() != input.shape.size()) {
      complain(fmt::format("has {} dimensions, got {}", input.shape.size(), ShapeText(*shape)));
    }
    for (size_t i = 0; i < shape->size() && !input.any_rank; ++i) {
      if (input.shape[i] >= 0 && (*shape)[i] != input.shape[i])
        complain(fmt::format("has shape {} in the model, got {}", ShapeText(input.shape), ShapeText(*shape)));
    }
  }
  for (size_t i = 0; i < range.min.size(); ++i) {
    if (range.min.size() != range.max.size() || range.opt.size() != range.max.size() ||
        range.min[i] > range.opt[i] || range.opt[i] > range.max[i]) {
      complain(fmt::format("needs min <= opt <= max, got {}:{}:{}", ShapeText(range.min),
                           ShapeText(range.opt), ShapeText(range.max)));
    }
  }
}

}  // namespace

ShapeProfile ParseShapes(std::string_view text) {
  ShapeProfile profile;
  for (const std::string_view part : Split(text, ',')) profile.push_back(ParseRange(part));
  return profile;
}

SampleShapes ShapesOfSamples(const std::vector<InputSpec>& inputs, const SampleSource& samples) {
  std::map<std::string, Span> shapes, values;
  for (uint64_t i = 0; i < samples.size(); ++i) {
    ThrowIfInterrupted();
    const Sample sample = samples.Read(i);
    ValidateSample(sample, inputs);
    for (const NamedArray& input : sample.inputs) {
      shapes[input.name].Add(input.array.shape);
      if (MayDecideShapes(input.array)) values[input.name].Add(Integers(input.array));
    }
  }
  SampleShapes result;
  for (const InputSpec& input : inputs) {
    const Span& shape = shapes[input.name];
    if (shape.uneven)
      throw BadInput(
          fmt::format("input {} has different ranks in different samples: no engine takes that", input.name));
    if (HasFreeDimensions(input))
      result.profile.push_back({input.name, shape.min, shape.commonest, shape.max});
    const auto found = values.find(input.name);
    if (found != values.end() && !found->second.uneven) {
      result.values.push_back({input.name, found->second.min, found->second.commonest, found->second.max});
    }
  }
  return result;
}

void CheckProfiles(const std::vector<InputSpec>& inputs, const std::vector<ShapeProfile>& profiles) {
  std::vector<std::string> names;
  for (const InputSpec& input : inputs) names.push_back(input.name);
  for (const ShapeProfile& profile : profiles) {
    for (const ShapeRange& range : profile) {
      const auto input = std::find_if(inputs.begin(), inputs.end(),
                                      [&](const InputSpec& spec) { return spec.name == range.input; });
      if (input == inputs.end()) {
        throw BadUsage(fmt::format("--shapes: the model has no input {}{}", range.input,
                                   DidYouMean(range.input, names)));
      }
      CheckRange(*input, range);
    }
    for (const InputSpec& input : inputs) {
      const auto count = std::count_if(profile.begin(), profile.end(),
                                       [&](const ShapeRange& range) { return range.input == input.name; });
      if (count > 1) throw BadUsage(fmt::format("--shapes: input {} is given twice", input.name));
      if (count == 0 && HasFreeDimensions(input))
        throw BadUsage(fmt::format("--shapes: input {} has free dimensions and no shape", input.name));
    }
  }
}

}  // namespace halfsafe
