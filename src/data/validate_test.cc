#include <cmath>

#include "data/test_support.h"

namespace halfsafe {
namespace {

const std::vector<InputSpec> kInputs = {{"images", DType::kFloat, {-1, 2}}, {"mask", DType::kBool, {}, true}};

Sample Good() {
  return {"s.npz", {{"mask", {DType::kBool, {3}, {{}, {}, {}}}}, {"images", Floats({1, 2}, {1, 2})}}};
}

TEST(ValidateSample, AcceptsWhatFits) { ValidateSample(Good(), kInputs); }

TEST(ValidateSample, NamesMissingAndExtraInputs) {
  Sample sample = Good();
  sample.inputs.pop_back();
  ExpectBad([&] { ValidateSample(sample, kInputs); },
            {"s.npz", "lacks input 'images'", "'images' float32[?, 2], 'mask' bool"});
  sample = Good();
  sample.inputs[1].name = "image";
  ExpectBad([&] { ValidateSample(sample, kInputs); },
            {"s.npz", "'image'", "did you mean images?", "the model's inputs: 'images'"});
  sample.inputs[1].name = "zzz";
  ExpectBad([&] { ValidateSample(sample, kInputs); }, {"'zzz', which is no input of the model; the"});
  sample = Good();
  sample.inputs.push_back(sample.inputs[0]);
  ExpectBad([&] { ValidateSample(sample, kInputs); }, {"s.npz", "'mask' comes twice"});
}

TEST(ValidateSample, NamesWrongTypesAndShapes) {
  Sample sample = Good();
  sample.inputs[1].array.dtype = DType::kInt32;
  ExpectBad([&] { ValidateSample(sample, kInputs); },
            {"s.npz: input 'images' is int32, the model expects float32"});
  sample = Good();
  sample.inputs[1].array.shape = {2};
  ExpectBad([&] { ValidateSample(sample, kInputs); }, {"'images' has shape [2], the model expects [?, 2]"});
  sample.inputs[1].array.shape = {2, 1};
  ExpectBad([&] { ValidateSample(sample, kInputs); },
            {"'images' has shape [2, 1], the model expects [?, 2]"});
  sample.inputs[1].array.shape = {2, 2};
  ExpectBad([&] { ValidateSample(sample, kInputs); }, {"needs 16 bytes, found 8"});
}

TEST(ValidateSample, TakesNaNWhereItIsAllowed) {
  const Sample sample{"s", {{"x", MakeArray<float>(DType::kFloat, {1}, {NAN})}}};
  const std::vector<InputSpec> inputs = {{"x", DType::kFloat, {1}}};
  ExpectBad([&] { ValidateSample(sample, inputs); }, {"NaN", "--allow-nan"});
  ValidateSample(sample, inputs, true);
}

TEST(ValidateSample, RefusesNaNButNotInfinity) {
  const auto check = [](Array array) {
    const DType dtype = array.dtype;
    const std::vector<int64_t> shape = array.shape;
    ValidateSample({"s", {{"x", std::move(array)}}}, {{"x", dtype, shape}});
  };
  ExpectBad([&] { check(Floats({2, 2}, {0, 1, NAN, 2})); }, {"s: input 'x' is NaN at index [1, 0]"});
  check(Floats({}, {-INFINITY}));
  ExpectBad([&] { check(MakeArray<double>(DType::kDouble, {1}, {NAN})); }, {"at index [0]"});
  ExpectBad([&] { check(MakeArray<uint16_t>(DType::kFloat16, {}, {0xfc01})); }, {"at index []"});
  ExpectBad([&] { check(MakeArray<uint16_t>(DType::kBfloat16, {1}, {0x7f81})); }, {"at index [0]"});
  check(MakeArray<uint16_t>(DType::kFloat16, {1}, {0x7bff}));
  check(MakeArray<uint16_t>(DType::kBfloat16, {1}, {0x7c00}));
  check(MakeArray<uint16_t>(DType::kUint16, {1}, {0xffff}));
}

}  // namespace
}  // namespace halfsafe
