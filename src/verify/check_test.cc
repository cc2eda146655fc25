#include "halfsafe/check.h"

#include <gtest/gtest.h>

#include <cmath>

#include "data/test_support.h"
#include "halfsafe/rewrite.h"
#include "model/test_support.h"

namespace halfsafe {
namespace {

/// Four values a sample.
class Numbers : public SampleSource {
 public:
  explicit Numbers(std::vector<std::vector<float>> samples) : samples_(std::move(samples)) {}
  uint64_t size() const override { return samples_.size(); }
  std::string Name(uint64_t index) const override { return "s" + std::to_string(index); }
  Sample Read(uint64_t index) const override {
    Sample sample;
    sample.name = Name(index);
    sample.inputs.push_back({"x", Floats({4}, samples_[index])});
    return sample;
  }

 private:
  std::vector<std::vector<float>> samples_;
};

/// y = (3 x) reshaped, plus 1; the product overflows FP16 from x = 21835 on.
Model Tripled() {
  Model model = Loaded(ParsedProto(R"(<ir_version: 8, opset_import: ["" : 17]>
    g (float[4] x) => (float[2, 2] y)
    <float three = {3}, float one = {1}, int64[2] shape = {2, 2}> {
      product = Mul(x, three)
      square = Reshape(product, shape)
      y = Add(square, one)
    })"));
  return model;
}

CheckResult Checked(const Model& model, const Model& fixed, const SampleSource& samples) {
  CheckOptions options;
  options.per_sample = options.fixed_ranges = true;
  Progress silent;
  return Check(model, fixed, samples, options, &silent);
}

TEST(CheckTest, KeepsErrorsOfEachSampleInOrder) {
  const Model model = Tripled();
  // 3 * 683 = 2049 lies between two FP16 numbers, 2048 and 2050, and goes to the even one.
  const Numbers samples({{1, 2, 3, 4}, {683, 0, 0, 0}, {30000, 1, 1, 1}});
  const CheckResult result = Checked(model, Apply(model, PlainFp16Plan(model)), samples);
  const OutputError& y = result.fixed.outputs.at(0);
  ASSERT_EQ(y.samples.size(), 3u);
  EXPECT_EQ(y.samples[0].sample, "s0");
  EXPECT_EQ(y.samples[0].rel_l2, 0.0);
  EXPECT_TRUE(y.samples[0].right);
  // 2048 + 1 = 2049 goes to 2048 again; FP32 gives 2050. The other three values are 1 in both.
  EXPECT_EQ(y.samples[1].max_abs, 2.0);
  EXPECT_NEAR(y.samples[1].rel_l2, 2.0 / std::sqrt(2050.0 * 2050.0 + 3.0), 1e-12);
  EXPECT_TRUE(y.samples[1].right);
  EXPECT_EQ(y.samples[2].new_nonfinite, 1u);
  EXPECT_FALSE(y.samples[2].right);
  EXPECT_FALSE(y.right);
}

TEST(CheckTest, MeasuresWhatTheFixedModelStores) {
  const Model model = Tripled();
  const Numbers samples({{-683, 0, 0, 0}, {30000, 1, 1, 1}});
  const CheckResult result = Checked(model, Apply(model, PlainFp16Plan(model)), samples);
  ASSERT_TRUE(result.fixed_ranges);
  EXPECT_EQ(result.fixed_ranges->samples, 2u);
  const TensorStats* product = result.fixed_ranges->Find("product");
  ASSERT_NE(product, nullptr);
  EXPECT_EQ(product->dtype, DType::kFloat16);
  EXPECT_EQ(product->min, -2048.0);  // Rounded: FP32 has -2049.
  EXPECT_EQ(product->max, 3.0);      // 90000 is infinite, and no finite value.
  EXPECT_EQ(product->inf_count, 1u);
  EXPECT_EQ(product->abs_max_sample, "s0");
  const TensorStats* square = result.fixed_ranges->Find("square");  // Only handed on.
  ASSERT_NE(square, nullptr);
  EXPECT_EQ(square->min, -2048.0);
  EXPECT_EQ(square->inf_count, 1u);
  const TensorStats* x = result.fixed_ranges->Find("x");
  ASSERT_NE(x, nullptr);
  EXPECT_EQ(x->dtype, DType::kFloat);
  EXPECT_EQ(x->max, 30000.0);
  const TensorStats* three = result.fixed_ranges->Find("three");
  ASSERT_NE(three, nullptr);
  EXPECT_TRUE(three->constant);
  EXPECT_EQ(three->max, 3.0);
}

TEST(CheckTest, LookingAtTensorsChangesNoVerdict) {
  const Model model = Tripled();
  const Numbers samples({{-683, 0, 0, 0}, {30000, 1, 1, 1}});
  const Model fixed = Apply(model, PlainFp16Plan(model));
  Progress silent;
  const CheckResult plainly = Check(model, fixed, samples, {}, &silent);
  const CheckResult closely = Checked(model, fixed, samples);
  EXPECT_FALSE(plainly.fixed_ranges);
  EXPECT_TRUE(plainly.fixed.outputs.at(0).samples.empty());
  EXPECT_EQ(plainly.fixed.outputs.at(0).rel_l2, closely.fixed.outputs.at(0).rel_l2);
  ASSERT_TRUE(plainly.fixed.first_inf && closely.fixed.first_inf);
  EXPECT_EQ(plainly.fixed.first_inf->tensor, closely.fixed.first_inf->tensor);
}

}  // namespace
}  // namespace halfsafe
