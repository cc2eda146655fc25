#include "runtime/session_cache.h"

#include <gtest/gtest.h>

#include "model/test_support.h"

namespace halfsafe {
namespace {

/// The branch that x with one dimension does not take transposes two: ONNX Runtime refuses it for known
/// shapes.
const char kRankChoice[] = R"(<ir_version: 8, opset_import: ["" : 17]>
  g (float[] x) => (float[] y)
  <int64 one = {1}> {
    shape = Shape(x)
    rank = Size(shape)
    flat = Equal(rank, one)
    y = If(flat) <
      then_branch = t () => (float[] a) { a = Neg(x) },
      else_branch = e () => (float[] b) { b = Transpose<perm = [1, 0]>(x) }
    >
  })";

Sample Given(const std::vector<int64_t>& shape, const std::vector<float>& values) {
  Sample sample;
  sample.inputs.push_back({"x", Floats(shape, values)});
  return sample;
}

std::vector<float> Ran(SessionCache* sessions, const Sample& sample) {
  const std::vector<Ort::Value> outputs = sessions->For(sample).Run(sample);
  const auto* data = outputs.at(0).GetTensorData<float>();
  return {data, data + outputs[0].GetTensorTypeAndShapeInfo().GetElementCount()};
}

TEST(SessionCacheTest, RunsShapesThatABranchNotTakenDoesNotFit) {
  const Model model = Loaded(ParsedProto(kRankChoice));
  const SessionModel session_model = MakeSessionModel(model);
  SessionCache sessions(session_model, SessionOptions{}, true);
  EXPECT_EQ(Ran(&sessions, Given({3}, {1, 2, 3})), (std::vector<float>{-1, -2, -3}));
  EXPECT_EQ(Ran(&sessions, Given({2, 2}, {1, 2, 3, 4})), (std::vector<float>{1, 3, 2, 4}));
}

TEST(SessionCacheTest, KeepsTheSessionWhileShapesStay) {
  const Model model = Loaded(ParsedProto(kRankChoice));
  const SessionModel session_model = MakeSessionModel(model);
  SessionCache sessions(session_model, SessionOptions{}, true);
  const Sample square = Given({2, 2}, {1, 2, 3, 4});
  const Session* first = &sessions.For(square);
  EXPECT_EQ(&sessions.For(square), first);
  EXPECT_EQ(Ran(&sessions, Given({1, 2}, {5, 6})), (std::vector<float>{5, 6}));
}

}  // namespace
}  // namespace halfsafe
