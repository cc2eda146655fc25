#include "model/lift.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <onnx/defs/printer.h>

#include <bit>

#include "base/half_convert.h"
#include "halfsafe/error.h"
#include "halfsafe/half.h"
#include "model/external_data.h"
#include "model/graph_index.h"
#include "model/lifted_samples.h"
#include "model/test_support.h"
#include "model/walk.h"

namespace halfsafe {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

std::string Text(const Model& model) {
  std::string text = onnx::ProtoToString(model.proto().graph());
  std::string line;
  // One space between words, so that how the printer indents does not matter.
  for (const char c : text) {
    const bool space = c == ' ' || c == '\n';
    if (!space || (!line.empty() && line.back() != ' ')) line += space ? ' ' : c;
  }
  return line;
}

std::string LiftedText(const std::string& graph, bool clamps = false) {
  Model model = Loaded(ParsedProto("<ir_version: 9, opset_import: [\"\" : 19]>\n" + graph));
  if (clamps) model.LiftClamps();
  return Text(model.Lifted());
}

TEST(Lift, LeavesModelsWithoutSixteenBitsAlone) {
  const Model model = Loaded(ParsedProto(R"(<ir_version: 9, opset_import: ["" : 19]>
    g (float[4] x) => (double[4] y) { z = Neg(x) y = Cast<to = 11>(z) })"));
  EXPECT_EQ(&model.Lifted(), &model);
  EXPECT_EQ(model.AsStored(), nullptr);
}

TEST(Lift, MakesTypesFloatAndCastsNothing) {
  EXPECT_EQ(LiftedText(R"(g (float16[4] x) => (float16[4] y) <bfloat16[4] b> {
      wide = Cast<to = 1>(x)
      b = Cast<to = 16>(wide)
      n = Neg(b)
      h = CastLike(n, x)
      y = Add(h, x)
    })"),
            "g (float[4] x) => (float[4] y) { n = Neg (x) y = Add (n, x) }");
}

TEST(Lift, KeepsCastsToAndFromOtherTypes) {
  EXPECT_EQ(LiftedText(R"(g (float16[4] x) => (float16[4] y) {
      i = Cast<to = 7>(x)
      h = Cast<to = 10>(i)
      d = Cast<to = 11>(h)
      y = Cast<to = 10>(d)
    })"),
            "g (float[4] x) => (float[4] y) { i = Cast <to: int = 7> (x) h = Cast <to: int = 1> (i) "
            "d = Cast <to: int = 11> (h) y = Cast <to: int = 1> (d) }");
}

TEST(Lift, MakesAnIdentityOfACastThatIsAnOutput) {
  EXPECT_EQ(LiftedText(R"(g (float16[4] x) => (float[4] y, float16[4] z) {
      y = Cast<to = 1>(x)
      h = Cast<to = 10>(y)
      z = Neg(h)
    })"),
            "g (float[4] x) => (float[4] y, float[4] z) { y = Identity (x) z = Neg (y) }");
}

TEST(Lift, ReadsThroughCastsInBodies) {
  const std::string text = LiftedText(R"(g (float16[4] x, bool c) => (float16[4] y) {
      wide = Cast<to = 1>(x)
      y = If (c) <
        then_branch = t () => (float16[4] a) { square = Mul(wide, wide) a = Cast<to = 10>(square) },
        else_branch = e () => (float16[4] b) { narrow = Cast<to = 10>(wide) b = Neg(narrow) }>
    })");
  EXPECT_THAT(text, HasSubstr("square = Mul (x, x) a = Identity (square)"));
  EXPECT_THAT(text, HasSubstr("{ b = Neg (x) }"));
  EXPECT_THAT(text, testing::Not(HasSubstr("float16")));
}

/// Where a body has a tensor of the name that lies behind the Cast, its reader would read that.
TEST(Lift, KeepsNamesApartThatBodiesHide) {
  const std::string text = LiftedText(R"(g (float16[4] x, bool c) => (float16[4] y) {
      h = Neg(x)
      wide = Cast<to = 1>(h)
      y = If (c) <
        then_branch = t () => (float16[4] a) { h = Abs(wide) a = Cast<to = 10>(h) },
        else_branch = e () => (float16[4] b) { b = Neg(x) }>
    })");
  EXPECT_THAT(text, HasSubstr("wide = Identity (h)"));
  EXPECT_THAT(text, HasSubstr("h = Abs (wide)"));
}

TEST(Lift, WidensWhatAttributesState) {
  const std::string text = LiftedText(R"(g (float16[4] x, float16[4] s) => (float16[4] y) {
      r = RandomNormalLike<dtype = 16>(x)
      n = LayerNormalization<stash_type = 10>(x, s)
      e = SequenceEmpty<dtype = 10>()
      f = SequenceInsert(e, n)
      g = ConcatFromSequence<axis = 0>(f)
      y = Add(r, g)
    })");
  EXPECT_THAT(text, HasSubstr("RandomNormalLike <dtype: int = 1>"));
  EXPECT_THAT(text, HasSubstr("stash_type: int = 1"));
  EXPECT_THAT(text, HasSubstr("SequenceEmpty <dtype: int = 1>"));
}

TEST(Lift, RefusesBitsOfSixteenBitValues) {
  onnx::ModelProto proto = ParsedProto(R"(<ir_version: 9, opset_import: ["" : 26]>
    g (float16[4] x) => (int16[4] y) { y = BitCast<to = 5>(x) })");
  const Model model = Loaded(proto);
  EXPECT_THROW(model.Lifted(), Error);
}

/// ONNX writes 16-bit numbers as their bits: 65504, -65504, 64512 and 10.
TEST(Lift, LeavesClampsOutOnlyWhenAskedTo) {
  const char* graph = R"(g (float16[4] x, bool c) => (float16[4] y)
      <float16 high = {31743}, float16 low = {64511}, float16 less = {31712}, float16 ten = {18688}> {
      bound = Where(c, less, high)
      below = Neg(bound)
      a = Clip(x, below, bound)
      b = Min(a, high)
      d = Max(low, b)
      y = Clip(d, low, ten)
    })";
  EXPECT_THAT(LiftedText(graph), HasSubstr("a = Clip (x, below, bound) b = Min (a, high)"));
  EXPECT_THAT(LiftedText(graph, true), HasSubstr("{ y = Clip (x, low, ten) }"));
  EXPECT_THAT(LiftedText(graph, true), testing::Not(HasSubstr("high")));
}

TEST(Lift, KnowsTheFileAfterAMove) {
  Model model = Loaded(ParsedProto(R"(<ir_version: 9, opset_import: ["" : 19]>
    g (float16[4] x) => (bfloat16[4] y, float[4] z) { y = Cast<to = 16>(x) z = Cast<to = 1>(x) })"));
  EXPECT_EQ(model.Lifted().AsStored(), &model);
  const Model moved = std::move(model);
  EXPECT_EQ(moved.Lifted().AsStored(), &moved);
  EXPECT_EQ(&moved.Lifted().Lifted(), &moved.Lifted());
  EXPECT_THAT(StoredInputTypes(moved.Lifted()), ElementsAre(DType::kFloat16));
  EXPECT_THAT(StoredOutputTypes(moved.Lifted()), ElementsAre(DType::kBfloat16, DType::kFloat));
}

/// A model whose weight lies in a file beside it, in 16 bits.
Model WithWeightOutside(const TempFolder& folder, onnx::TensorProto::DataType type,
                        const std::vector<uint16_t>& bits) {
  onnx::ModelProto proto = ParsedProto(R"(<ir_version: 9, opset_import: ["" : 19]>
    g (float16[1024] x) => (float16[1024] y) { y = Mul(x, w) })");
  onnx::TensorProto* weight = proto.mutable_graph()->add_initializer();
  weight->set_name("w");
  weight->set_data_type(type);
  weight->add_dims(static_cast<int64_t>(bits.size()));
  WriteReference({"w.bin", 0, bits.size() * sizeof(uint16_t)}, weight);
  WriteText(folder / "w.bin",
            std::string(reinterpret_cast<const char*>(bits.data()), bits.size() * sizeof(uint16_t)));
  WriteText(folder / "model.onnx", proto.SerializeAsString());
  return Model::Load(folder / "model.onnx");
}

/// Every 16-bit number, a signalling NaN excepted: bits of NaN are nobody's.
TEST(Lift, WidensWeightsOutsideExactlyAsTheyAreRead) {
  std::vector<uint16_t> bits(65536);
  for (size_t i = 0; i < bits.size(); ++i) bits[i] = static_cast<uint16_t>(i);
  for (const auto type : {onnx::TensorProto::FLOAT16, onnx::TensorProto::BFLOAT16}) {
    const TempFolder folder;
    const Model model = WithWeightOutside(folder, type, bits);
    const onnx::TensorProto& weight = model.Lifted().proto().graph().initializer(0);
    EXPECT_TRUE(IsExternal(weight));
    EXPECT_EQ(weight.data_type(), onnx::TensorProto::FLOAT);
    const FloatView view = ViewFloats(model.Lifted(), weight);
    ASSERT_EQ(view.values.size(), bits.size());
    for (size_t i = 0; i < bits.size(); ++i) {
      const float expected = type == onnx::TensorProto::FLOAT16 ? HalfValue(bits[i]) : Bfloat16Value(bits[i]);
      if (std::isnan(expected)) {
        ASSERT_TRUE(std::isnan(view.values[i])) << i;
      } else {
        ASSERT_EQ(std::bit_cast<uint32_t>(view.values[i]), std::bit_cast<uint32_t>(expected)) << i;
      }
    }
  }
}

class OneOfFloats : public SampleSource {
 public:
  explicit OneOfFloats(std::vector<float> values) {
    const auto bytes = std::as_bytes(std::span(values));
    sample_.name = "s";
    sample_.inputs.push_back({"x", {DType::kFloat, {static_cast<int64_t>(values.size())}, {}}});
    sample_.inputs[0].array.bytes.assign(bytes.begin(), bytes.end());
  }
  uint64_t size() const override { return 1; }
  std::string Name(uint64_t) const override { return sample_.name; }
  Sample Read(uint64_t) const override { return sample_; }

 private:
  Sample sample_;
};

class Warnings : public Progress {
 public:
  void Warn(std::string_view) override { ++count; }
  int count = 0;
};

TEST(LiftedSamples, RoundToTheFilesTypeAndSayItOnce) {
  const Model model = Loaded(ParsedProto(R"(<ir_version: 9, opset_import: ["" : 19]>
    g (float16[2] x) => (float16[2] y) { y = Neg(x) })"));
  const OneOfFloats given({1.0f + 0x1p-12f, 1e6f});
  Warnings warnings;
  const LiftedSamples lifted(model.Lifted(), given, &warnings);
  const LiftedSamples again(model.Lifted(), lifted.source(), &warnings);
  const Sample sample = again.source().Read(0);
  const auto* values = reinterpret_cast<const float*>(sample.inputs[0].array.bytes.data());
  EXPECT_THAT(std::vector<float>(values, values + 2), ElementsAre(1.0f, INFINITY));
  EXPECT_EQ(warnings.count, 1);
  const LiftedSamples of_stored(model, given, &warnings);
  EXPECT_EQ(&of_stored.source(), &given);
}

}  // namespace
}  // namespace halfsafe
