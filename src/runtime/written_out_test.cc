#include "runtime/written_out.h"

#include "model/test_support.h"
#include "runtime/session.h"

namespace halfsafe {
namespace {

Model Parsed(const std::string& header, const std::string& body) {
  return Loaded(ParsedProto("<ir_version: 10, opset_import: [" + header + "]> graph " + body));
}

/// What runs of the model. Whether ONNX Runtime has an operator depends on its version; that it runs must
/// not.
const Model& Form(const Model& model, std::optional<Model>* form) {
  *form = RunnableForm(model, false, Types::kItsOwn);
  return *form ? **form : model;
}

TEST(RunnableForm, NothingWhereAllRuns) {
  const Model model = Parsed(R"("": 17)", "(float[2] x) => (float[2] y) { y = Relu (x) }");
  EXPECT_EQ(RunnableForm(model, false, Types::kItsOwn), std::nullopt);
}

TEST(RunnableForm, WritesOutWhatOnnxDefinesByOthers) {
  const Model model = Parsed(R"("": 24)", "(float[2] x) => (float[2] z) { y = Swish (x) z = Relu (y) }");
  std::optional<Model> form;
  const Model& runs = Form(model, &form);
  EXPECT_NO_THROW(Session(MakeSessionModel(runs), SessionOptions()));
  EXPECT_GE(runs.index().FindTensor("y"), 0);
  if (!form) GTEST_SKIP() << "this ONNX Runtime has Swish";
  for (const auto& node : runs.proto().graph().node()) EXPECT_NE(node.op_type(), "Swish");
}

TEST(RunnableForm, TakesAnOlderOpset) {
  const Model model =
      Parsed(R"("": 22)",
             "(float[1, 1, 4, 4] x, float[1, 4] rois, int64[1] batch) => (float[1, 1, 1, 1] y) "
             "{ y = RoiAlign (x, rois, batch) }");
  std::optional<Model> form;
  EXPECT_NO_THROW(Session(MakeSessionModel(Form(model, &form)), SessionOptions()));
  if (form) {
    EXPECT_LT(form->proto().opset_import(0).version(), 22);
  }
}

}  // namespace
}  // namespace halfsafe
