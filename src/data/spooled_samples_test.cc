#include "data/test_support.h"

namespace halfsafe {
namespace {

Sample Numbered(int number, size_t count) {
  return {"sample " + std::to_string(number),
          {{"x", Floats({static_cast<int64_t>(count)},
                        std::vector<float>(count, 0.5f + static_cast<float>(number)))},
           {"mask", MakeArray<int64_t>(DType::kInt64, {}, {number})}}};
}

TEST(SpooledSamples, AreWhatWasAddedInMemoryAndInTheFile) {
  // Two of a thousand floats fit; an empty one fits anywhere, also behind some that didn't.
  SpooledSamples samples(uint64_t{2} * (4000 + 8));
  const std::vector<size_t> counts = {1000, 1000, 1000, 0, 500};
  for (size_t i = 0; i < counts.size(); ++i) samples.Add(Numbered(static_cast<int>(i), counts[i]));
  ASSERT_EQ(samples.size(), counts.size());
  for (const size_t i : {4u, 0u, 3u, 2u, 1u, 2u}) {  // In any order, and again.
    const Sample expected = Numbered(static_cast<int>(i), counts[i]);
    const Sample found = samples.Read(i);
    EXPECT_EQ(samples.Name(i), expected.name);
    EXPECT_EQ(found.name, expected.name);
    ASSERT_EQ(found.inputs.size(), 2u);
    for (size_t k = 0; k < 2; ++k) {
      EXPECT_EQ(found.inputs[k].name, expected.inputs[k].name);
      ExpectSame(found.inputs[k].array, expected.inputs[k].array);
    }
  }
}

TEST(SpooledSamples, CanBeReadWhileMoreAreAdded) {
  SpooledSamples samples(0);
  for (int i = 0; i < 3; ++i) {
    samples.Add(Numbered(i, 10));
    ExpectSame(samples.Read(0).inputs[0].array, Numbered(0, 10).inputs[0].array);
  }
}

}  // namespace
}  // namespace halfsafe
