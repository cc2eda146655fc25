#include "verify/output_rules.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <random>

#include "model/test_support.h"
#include "verify/compare.h"

namespace halfsafe {
namespace {

using testing::ElementsAre;

using Shape = std::vector<int64_t>;

Model ModelOf(const std::string& body) {
  return Loaded(ParsedProto("<ir_version: 8, opset_import: [\"\" : 17]> g " + body));
}

OutputView ViewOf(const Shape& shape, const std::vector<float>& values) {
  OutputView view;
  view.tensors.push_back(
      {DType::kFloat, shape, values.data(), values.size(), values.size() * sizeof(float), nullptr});
  return view;
}

/// What one output gives in FP32 for some samples, and the rule that comes of it.
struct Shown {
  OutputRule rule;
  Shape shape;
  std::vector<std::vector<float>> samples;

  /// The distance of samples that differ by `error(sample, value, index)`, and the worst part.
  double Distance(const std::function<double(size_t, double, size_t)>& error,
                  std::string* where = nullptr) const {
    OutputError all;
    for (size_t s = 0; s < samples.size(); ++s) {
      std::vector<float> other = samples[s];
      for (size_t i = 0; i < other.size(); ++i)
        other[i] = static_cast<float>(other[i] + error(s, other[i], i));
      AddSample({CompareOutput(ViewOf(shape, samples[s]), ViewOf(shape, other), "s", {}, &rule)}, "s", &all);
    }
    if (where != nullptr) *where = all.worst_part ? all.worst_part->where : "";
    return all.distance;
  }

  /// The place of a flat index along an axis.
  int64_t At(size_t index, int axis) const {
    int64_t behind = 1;
    for (size_t i = static_cast<size_t>(axis) + 1; i < shape.size(); ++i) behind *= shape[i];
    return static_cast<int64_t>(index) / behind % shape[static_cast<size_t>(axis)];
  }
  /// What lies at places [begin, end) along an axis, times `factor`.
  double Times(double factor, int axis, int64_t begin, int64_t end, std::string* where = nullptr) const {
    return Distance(
        [&](size_t, double value, size_t index) {
          const int64_t at = At(index, axis);
          return at >= begin && at < end ? value * (factor - 1.0) : 0.0;
        },
        where);
  }
  /// An ordinary right fix: errors of 3e-3 of each value, and of 3e-3 of the size that its part has.
  double Rounded(const std::function<double(size_t)>& size) const {
    std::mt19937 random(7);
    std::normal_distribution<double> normal;
    return Distance([&](size_t, double value, size_t index) {
      return 3e-3 * (normal(random) * value + 0.3 * normal(random) * size(index));
    });
  }
};

/// Four samples of `shape`, with values from `draw(sample, index, normal)`.
Shown Show(const Model& model, const Shape& shape,
           const std::function<double(size_t, size_t, const Shown&, double)>& draw) {
  Shown shown{{}, shape, {}};
  std::mt19937 random(3);
  std::normal_distribution<double> normal;
  int64_t count = 1;
  for (const int64_t dim : shape) count *= dim;
  RuleFinder finder(model);
  for (size_t s = 0; s < 4; ++s) {
    auto& values = shown.samples.emplace_back();
    for (size_t i = 0; i < static_cast<size_t>(count); ++i)
      values.push_back(static_cast<float>(draw(s, i, shown, normal(random))));
  }
  for (const auto& values : shown.samples) {
    std::vector<OutputView> views;
    views.push_back(ViewOf(shape, values));
    finder.Add(views);
  }
  shown.rule = finder.Rules().front();
  return shown;
}

/// A score of few of the anchors, of its class and sample; next to nothing elsewhere. Class 5 is never shown.
double Score(size_t sample, int64_t anchor, int64_t label, double normal) {
  const bool seen = label != 5 && (anchor + label + static_cast<int64_t>(sample)) % 97 == 0;
  return seen ? 0.5 + 0.1 * std::tanh(normal) : 1e-5 * std::fabs(normal);
}

/// Boxes beside scores along the channels, as YOLO has them.
Shown Yolo() {
  const Model model = ModelOf(
      R"((float[1, 4, 400] boxes, float[1, 8, 400] logits) => (float[1, 12, 400] y) <float stride = {8}> {
      pixels = Mul(boxes, stride)
      scores = Sigmoid(logits)
      [join] y = Concat<axis = 1>(pixels, scores)
    })");
  return Show(model, {1, 12, 400}, [](size_t s, size_t i, const Shown& shown, double normal) {
    const int64_t row = shown.At(i, 1);
    return row < 4 ? 300.0 + 100.0 * std::tanh(normal) : Score(s, shown.At(i, 2), row - 4, normal);
  });
}

TEST(OutputRulesTest, BoxesBesideScores) {
  const Shown yolo = Yolo();
  EXPECT_EQ(yolo.rule.origin, "join");
  ASSERT_EQ(yolo.rule.parts.size(), 2u);
  EXPECT_THAT(yolo.rule.parts[0].ranges, ElementsAre(IndexRange{0, 4}));
  EXPECT_THAT(yolo.rule.parts[1].ranges, ElementsAre(IndexRange{4, 12}));
  std::string where;
  EXPECT_GT(yolo.Times(0.0, 1, 4, 12, &where), 1.0) << "scores lost";
  EXPECT_EQ(where, "y[:, 4:12, :]");
  EXPECT_GT(yolo.Times(0.0, 1, 7, 8), 1.0) << "a class lost";
  EXPECT_GT(yolo.Times(0.9, 1, 7, 8), 1.0) << "a class off by a tenth";
  EXPECT_GT(yolo.Times(0.9, 1, 2, 3), 1.0) << "a coordinate off by a tenth";
  EXPECT_LT(yolo.Times(0.9, 1, 9, 10), 0.1) << "a class that no sample shows";
  EXPECT_LT(yolo.Rounded([&](size_t i) { return yolo.At(i, 1) < 4 ? 300.0 : 0.05; }), 1.0);
}

/// Samples that show nothing don't fail for their noise, one or all of them.
TEST(OutputRulesTest, SamplesThatShowNothing) {
  Shown yolo = Yolo();
  for (size_t i = 0; i < yolo.samples[2].size(); ++i) {
    if (yolo.At(i, 1) >= 4) yolo.samples[2][i] = 1e-5F;
  }
  EXPECT_LT(yolo.Distance(
                [&](size_t s, double value, size_t i) { return s == 2 && yolo.At(i, 1) >= 4 ? value : 0.0; }),
            1.0);
}

TEST(OutputRulesTest, NoSampleShowsAnything) {
  const Model model = ModelOf(R"((float[1, 4, 400] boxes, float[1, 8, 400] logits) => (float[1, 12, 400] y) {
      scores = Sigmoid(logits)
      y = Concat<axis = 1>(boxes, scores)
    })");
  const Shown noise = Show(model, {1, 12, 400}, [](size_t, size_t i, const Shown& shown, double normal) {
    return shown.At(i, 1) < 4 ? 300.0 : 1e-5 * std::fabs(normal);
  });
  EXPECT_LT(noise.Times(0.9, 1, 4, 12), 1.0);
}

/// Levels of a pyramid one behind the other, each with its own way of putting together what it holds.
TEST(OutputRulesTest, LevelsThatAreAlike) {
  const std::string level = R"(
      xy{0} = Sigmoid(a{0})
      wh{0} = Exp(b{0})
      c{0} = Sigmoid(d{0})
      [join{0}] j{0} = Concat<axis = 2>(xy{0}, wh{0}, c{0})
      )";
  std::string body;
  for (const char* number : {"1", "2"}) {
    std::string text = level;
    for (size_t at = text.find("{0}"); at != std::string::npos; at = text.find("{0}"))
      text.replace(at, 3, number);
    body += text;
  }
  const Model model = ModelOf(
      R"((float[1, 200, 2] a1, float[1, 200, 2] b1, float[1, 200, 3] d1,
          float[1, 50, 2] a2, float[1, 50, 2] b2, float[1, 50, 3] d2) => (float[1, 250, 7] y) {)" +
      body + "y = Concat<axis = 1>(j1, j2) }");
  const OutputLayout layout = LayoutOf(model, "y");
  EXPECT_EQ(layout.axis, 2);
  using Piece = OutputLayout::Piece;
  EXPECT_THAT(layout.pieces, ElementsAre(Piece{{0, 2}, true}, Piece{{2, 4}, false}, Piece{{4, 7}, true}));
  EXPECT_EQ(layout.channels, 2);
}

/// The head of an SSD: convolutions, moved to rows of anchors; a Concat of levels tells no parts of a score.
TEST(OutputRulesTest, ScoresOfAnchors) {
  const Model model = ModelOf(
      R"((float[1, 4, 10, 10] x, float[1, 4, 5, 5] z, float[12, 4, 1, 1] w, float[12, 4, 1, 1] v) => (float[1, 250, 6] y) <int64[3] shape = {1, -1, 6}> {
      a = Conv(x, w)
      b = Transpose<perm = [0, 2, 3, 1]>(a)
      c = Reshape(b, shape)
      d = Conv(z, v)
      e = Transpose<perm = [0, 2, 3, 1]>(d)
      f = Reshape(e, shape)
      g = Concat<axis = 1>(c, f)
      y = Sigmoid(g)
    })");
  const Shown ssd = Show(model, {1, 250, 6}, [](size_t s, size_t i, const Shown& shown, double normal) {
    return Score(s, shown.At(i, 1), shown.At(i, 2), normal);
  });
  EXPECT_EQ(ssd.rule.index_axis, 2);
  EXPECT_EQ(ssd.rule.parts.size(), 1u);
  EXPECT_GT(ssd.Times(0.0, 2, 0, 6), 1.0) << "scores lost";
  EXPECT_GT(ssd.Times(0.0, 2, 2, 3), 1.0) << "a class lost";
  EXPECT_GT(ssd.Times(0.9, 2, 2, 3), 1.0) << "a class off by a tenth";
  EXPECT_LT(ssd.Rounded([](size_t) { return 0.05; }), 1.0);
}

/// Classes of DETR's queries: a linear layer, and nothing that tells parts.
TEST(OutputRulesTest, ClassesOfQueries) {
  const Model model =
      ModelOf(R"((float[1, 100, 16] x, float[16, 20] w, float[20] b) => (float[1, 100, 20] y) {
      h = MatMul(x, w)
      y = Add(h, b)
    })");
  const Shown detr = Show(model, {1, 100, 20},
                          [](size_t, size_t, const Shown&, double normal) { return -4.0 + 2.0 * normal; });
  EXPECT_EQ(detr.rule.index_axis, 2);
  EXPECT_EQ(detr.rule.parts.size(), 1u);
  EXPECT_GT(detr.Times(0.0, 2, 3, 4), 1.0) << "a class lost";
  EXPECT_GT(detr.Times(0.9, 2, 3, 4), 1.0) << "a class off by a tenth";
  EXPECT_LT(detr.Rounded([](size_t) { return 4.0; }), 1.0);
}

/// Keypoints of RetinaFace: a convolution's channels, moved and reshaped.
TEST(OutputRulesTest, Keypoints) {
  const Model model = ModelOf(
      R"((float[1, 4, 16, 16] x, float[10, 4, 1, 1] w) => (float[1, 256, 10] y) <int64[3] shape = {1, -1, 10}> {
      a = Conv(x, w)
      b = Transpose<perm = [0, 2, 3, 1]>(a)
      y = Reshape(b, shape)
    })");
  const Shown face =
      Show(model, {1, 256, 10}, [](size_t, size_t, const Shown&, double normal) { return 2.0 * normal; });
  EXPECT_EQ(face.rule.index_axis, 2);
  std::string where;
  EXPECT_GT(face.Times(0.9, 2, 7, 8, &where), 1.0) << "a coordinate off by a tenth";
  EXPECT_EQ(where, "y[:, :, 7]");
  EXPECT_GT(face.Distance([&](size_t, double, size_t i) { return face.At(i, 2) == 7 ? 0.2 : 0.0; }), 1.0)
      << "a keypoint off by a tenth of its size";
  EXPECT_LT(face.Rounded([](size_t) { return 2.0; }), 1.0);
}

TEST(OutputRulesTest, ASegmentationMap) {
  const Model model = ModelOf(
      R"((float[1, 4, 20, 20] x, float[8, 4, 1, 1] w) => (float[1, 8, 20, 20] y) { y = Conv(x, w) })");
  // One class is shown by a corner of the image alone.
  const Shown map = Show(model, {1, 8, 20, 20}, [](size_t, size_t i, const Shown& shown, double normal) {
    const bool corner = shown.At(i, 2) < 5 && shown.At(i, 3) < 5;
    return shown.At(i, 1) == 3 && !corner ? 0.05 * normal : 3.0 * normal;
  });
  EXPECT_EQ(map.rule.index_axis, 1);
  EXPECT_GT(map.Times(0.0, 1, 3, 4), 1.0) << "a class lost";
  EXPECT_GT(map.Times(0.9, 1, 3, 4), 1.0) << "a class off by a tenth";
  EXPECT_LT(map.Rounded([](size_t) { return 3.0; }), 1.0);
}

/// One number a class: single errors spread, and an ordinary fix must not fail for the largest of a thousand.
TEST(OutputRulesTest, Logits) {
  const Model model =
      ModelOf("(float[1, 16] x, float[16, 1000] w) => (float[1, 1000] y) { y = MatMul(x, w) }");
  const Shown logits =
      Show(model, {1, 1000}, [](size_t, size_t, const Shown&, double normal) { return 3.0 * normal; });
  EXPECT_EQ(logits.rule.index_axis, 1);
  EXPECT_GT(logits.Distance(
                [](size_t, double value, size_t i) { return i == 12 ? -std::copysign(9.0, value) : 0.0; }),
            1.0)
      << "a class lost";
  EXPECT_GT(logits.Distance([](size_t s, double value, size_t i) {
    return i == 0 ? 0.0 : s == 0 && std::fabs(value) > 6.0 ? -0.1 * value : 0.0;
  }),
            1.0)
      << "the highest classes off by a tenth";
  EXPECT_LT(logits.Rounded([](size_t) { return 3.0; }), 1.0);
}

/// An embedding with a dimension that is far larger than the others, and what is lost beside it.
TEST(OutputRulesTest, AnOutlierDimension) {
  const std::string graph = "(float[1, 16] x, float[16, 64] w) => (float[1, 64] y) { ";
  const auto value = [](size_t, size_t i, const Shown&, double normal) {
    return i == 9 ? 900.0 + normal : normal;
  };
  const Shown embedding = Show(ModelOf(graph + "y = MatMul(x, w) }"), {1, 64}, value);
  EXPECT_EQ(embedding.rule.parts.size(), 2u);
  EXPECT_THAT(embedding.rule.parts[1].ranges, ElementsAre(IndexRange{9, 10}));
  const auto lost = [](size_t, double given, size_t i) { return i == 9 ? 0.0 : -given; };
  EXPECT_GT(embedding.Distance(lost), 1.0);
  EXPECT_LT(embedding.Rounded([](size_t i) { return i == 9 ? 900.0 : 1.0; }), 1.0);
  // Behind a normalization all is on one scale.
  const Shown normal =
      Show(ModelOf("(float[1, 64] x, float[64] g) => (float[1, 64] y) { y = LayerNormalization(x, g) }"),
           {1, 64}, value);
  EXPECT_LE(normal.rule.parts.size(), 1u);
  EXPECT_LT(normal.Distance(lost), 1.0);
}

/// Probabilities range over many powers of ten, and small ones are noise.
TEST(OutputRulesTest, ProbabilitiesAreOnOneScale) {
  const Model model =
      ModelOf("(float[1, 16] x, float[16, 50] w) => (float[1, 50] y) { h = MatMul(x, w) y = Softmax(h) }");
  const Shown softmax = Show(model, {1, 50}, [](size_t s, size_t i, const Shown&, double normal) {
    return i == s ? 0.999 : 1e-6 * std::fabs(normal);
  });
  EXPECT_EQ(softmax.rule.parts.size(), 1u);
  EXPECT_LT(softmax.Times(0.5, 1, 20, 40), 1.0);
  EXPECT_GT(softmax.Times(0.9, 1, 2, 3), 1.0);
}

TEST(OutputRulesTest, ASoftmaxWrittenOut) {
  const Model model = ModelOf(R"((float[1, 16] x, float[16, 50] w) => (float[1, 50] y) {
      h = MatMul(x, w)
      e = Exp(h)
      s = ReduceSum<keepdims = 1>(e)
      y = Div(e, s)
    })");
  EXPECT_TRUE(LayoutOf(model, "y").one_scale);
  EXPECT_TRUE(LayoutOf(model, "y").squashed);
  const Model other = ModelOf("(float[1, 50] x, float[1, 50] z) => (float[1, 50] y) { y = Div(x, z) }");
  EXPECT_FALSE(LayoutOf(other, "y").one_scale);
}

/// A value and its uncertainty, stacked along an axis of their own.
TEST(OutputRulesTest, QuantitiesThatAreStacked) {
  const Model model = ModelOf(R"((float[1, 16] x, float[16, 20] w, float[16, 20] v) => (float[1, 2, 20] y)
      <int64[1] one = {1}> {
      a = MatMul(x, w)
      b = MatMul(x, v)
      c = Unsqueeze(a, one)
      d = Unsqueeze(b, one)
      [join] y = Concat<axis = 1>(c, d)
    })");
  const auto draw = [](double size) {
    return [size](size_t, size_t i, const Shown&, double normal) { return i < 20 ? size * normal : normal; };
  };
  const Shown far = Show(model, {1, 2, 20}, draw(1000.0)), near = Show(model, {1, 2, 20}, draw(10.0));
  EXPECT_EQ(far.rule.origin, "join");
  EXPECT_GT(far.Times(0.0, 1, 1, 2), 1.0) << "the small one lost";
  EXPECT_LT(far.Rounded([](size_t i) { return i < 20 ? 1000.0 : 1.0; }), 1.0);
  EXPECT_EQ(near.rule.axis, 2) << "the same in other places";
}

/// Parts that are found by their norms along one axis are not those of a Concat along another one.
TEST(OutputRulesTest, AConcatAlongAnotherAxisSaysNothingOfParts) {
  const auto rule = [](const std::string& operands) {
    const Model model = ModelOf(R"((float[1, 6, 5] x, float[1, 6, 5] z) => (float[1, 6, 10] y) {
        t = Tanh(x)
        [join] y = Concat<axis = 2>()" +
                                operands + ") }");
    return Show(model, {1, 6, 10},
                [](size_t, size_t i, const Shown& shown, double normal) {
                  return (shown.At(i, 1) < 3 ? 1.0 : 1e-3) * normal;
                })
        .rule;
  };
  for (const OutputPart& part : rule("z, t").parts) EXPECT_NE(part.largest, 1.0);
  EXPECT_EQ(rule("z, t").parts.size(), rule("t, z").parts.size());
  for (size_t i = 0; i < rule("z, t").parts.size(); ++i)
    EXPECT_EQ(rule("z, t").parts[i].largest, rule("t, z").parts[i].largest);
}

TEST(OutputRulesTest, AnAxisWithoutIndices) {
  const Model model = ModelOf("(float[2, 8] x, float[8, 0] w) => (float[2, 0] y) { y = MatMul(x, w) }");
  const Shown empty = Show(model, {2, 0}, [](size_t, size_t, const Shown&, double) { return 0.0; });
  EXPECT_EQ(empty.Distance([](size_t, double, size_t) { return 0.0; }), 0.0);
}

/// Where an axis changes with the sample, its indices mean nothing.
TEST(OutputRulesTest, PositionsAreNoIndices) {
  const Model model = ModelOf("(float[1, N, 4] x) => (float[1, N, 4] y) { y = Relu(x) }");
  RuleFinder finder(model);
  for (const int64_t length : {3, 5}) {
    std::vector<float> values(static_cast<size_t>(length) * 4, 1.0F);
    values[1] = 1e4F;
    std::vector<OutputView> views;
    views.push_back(ViewOf({1, length, 4}, values));
    finder.Add(views);
  }
  const OutputRule rule = finder.Rules().front();
  EXPECT_EQ(rule.axis, 2);
  EXPECT_EQ(rule.parts.size(), 2u);
}

}  // namespace
}  // namespace halfsafe
