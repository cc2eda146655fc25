#include "tensorrt/shapes.h"

#include <functional>

#include "data/convert.h"
#include "data/test_support.h"

namespace halfsafe {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::SizeIs;

std::string UsageError(const std::function<void()>& call) {
  try {
    call();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kUsage);
    return error.what();
  }
  ADD_FAILURE() << "nothing was thrown";
  return "";
}

TEST(ShapesTest, ReadsProfiles) {
  const ShapeProfile profile = ParseShapes("x:0=1x3x224:8x3x224:16x3x224,ids=1x16");
  ASSERT_THAT(profile, SizeIs(2));
  EXPECT_EQ(profile[0].input, "x:0");
  EXPECT_THAT(profile[0].min, ElementsAre(1, 3, 224));
  EXPECT_THAT(profile[0].opt, ElementsAre(8, 3, 224));
  EXPECT_THAT(profile[0].max, ElementsAre(16, 3, 224));
  EXPECT_THAT(profile[1].min, ElementsAre(1, 16));
  EXPECT_THAT(profile[1].max, ElementsAre(1, 16));
}

TEST(ShapesTest, RefusesWhatIsNoProfile) {
  for (const char* text : {"", "x", "=1x3", "x=", "x=1x", "x=1xa", "x=1x-1", "x=1:2", "x=1:2:3:4", "x=1,",
                           "x=99999999999999999999"}) {
    EXPECT_THAT(UsageError([&] { ParseShapes(text); }), HasSubstr("--shapes")) << text;
  }
}

TEST(ShapesTest, HoldsProfilesAgainstTheModel) {
  const std::vector<InputSpec> inputs = {{"x", DType::kFloat, {-1, 3}, false},
                                         {"y", DType::kFloat, {2}, false}};
  CheckProfiles(inputs, {ParseShapes("x=1x3:2x3:4x3")});
  const auto error = [&](const char* text) {
    return UsageError([&] { CheckProfiles(inputs, {ParseShapes(text)}); });
  };
  EXPECT_THAT(error("z=1x3"), HasSubstr("no input z"));
  EXPECT_THAT(error("y=2"), HasSubstr("input x has free dimensions"));
  EXPECT_THAT(error("x=1x4"), HasSubstr("[?, 3]"));
  EXPECT_THAT(error("x=1x3x1"), HasSubstr("2 dimensions"));
  EXPECT_THAT(error("x=4x3:2x3:1x3"), HasSubstr("min <= opt <= max"));
  EXPECT_THAT(error("x=1x3,x=2x3"), HasSubstr("twice"));
}

class Shapes : public SampleSource {
 public:
  explicit Shapes(std::vector<int64_t> rows) : rows_(std::move(rows)) {}
  uint64_t size() const override { return rows_.size(); }
  std::string Name(uint64_t) const override { return "sample"; }
  Sample Read(uint64_t index) const override {
    Array x{DType::kFloat, {rows_[index], 2}, std::vector<std::byte>(static_cast<size_t>(rows_[index]) * 8)};
    return {"sample", {{"x", std::move(x)}}};
  }

 private:
  std::vector<int64_t> rows_;
};

TEST(ShapesTest, SamplesGiveTheProfile) {
  const std::vector<InputSpec> inputs = {{"x", DType::kFloat, {-1, 2}, false}};
  const SampleShapes shapes = ShapesOfSamples(inputs, Shapes({4, 3, 3, 9}));
  ASSERT_THAT(shapes.profile, SizeIs(1));
  EXPECT_THAT(shapes.profile[0].min, ElementsAre(3, 2));
  EXPECT_THAT(shapes.profile[0].opt, ElementsAre(3, 2));  // The commonest.
  EXPECT_THAT(shapes.profile[0].max, ElementsAre(9, 2));
}

TEST(ShapesTest, RepeatsSamplesAlongAFreeFirstAxis) {
  const Shapes source({1});
  const auto free = RepeatSamples(source, {{"x", DType::kFloat, {-1, 2}, false}}, 3);
  EXPECT_THAT(free->Read(0).inputs[0].array.shape, ElementsAre(3, 2));
  EXPECT_THAT(free->Read(0).inputs[0].array.bytes, SizeIs(24));
  const auto fixed = RepeatSamples(source, {{"x", DType::kFloat, {1, 2}, false}}, 3);
  EXPECT_THAT(fixed->Read(0).inputs[0].array.shape, ElementsAre(1, 2));
}

Array Int64(int64_t value) { return MakeArray<int64_t>(DType::kInt64, {1}, {value}); }

TEST(ConvertTest, Int64FitsInt32OrIsRefused) {
  const Array array = ConvertArray(Int64(-2147483648), DType::kInt32, "input ids");
  EXPECT_EQ(ValuesOf<int32_t>(array)[0], -2147483648);
  ExpectBad([] { ConvertArray(Int64(2147483648), DType::kInt32, "input ids"); }, {"input ids", "2147483648"});
}

}  // namespace
}  // namespace halfsafe
