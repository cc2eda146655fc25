#include "runtime/session_model.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "data/test_support.h"
#include "model/test_support.h"
#include "runtime/session.h"

namespace halfsafe {
namespace {

TEST(SessionModel, ListsConstantsAmongInputsWhereTheVersionWantsIt) {
  // Initializers have to be inputs too before IR version 4, and ONNX Runtime insists where nothing reads one.
  const Model model = Loaded(ParsedProto(R"(<ir_version: 3, opset_import: ["" : 11]>
    g (float[2] x) => (float[2] y) {
      unused = Constant<value: tensor = float[3] {1, 2, 3}>()
      one = Constant<value: tensor = float {1}>()
      y = Add(x, one)
    })"));
  const SessionModel session = MakeSessionModel(model);
  std::vector<std::string> inputs;
  for (const auto& input : session.proto.graph().input()) inputs.push_back(input.name());
  EXPECT_THAT(inputs, testing::ElementsAre("x", "unused", "one"));
  Sample sample;
  sample.inputs.push_back({"x", Floats({2}, {1, 2})});
  EXPECT_EQ(Session(session, {}).Run(sample).size(), 1u);
}

}  // namespace
}  // namespace halfsafe
