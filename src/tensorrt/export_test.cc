#include "halfsafe/engine.h"
#include "model/test_support.h"

namespace halfsafe {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;
using testing::SizeIs;

/// A model whose nodes bear names that need care, with these pinned.
WeaklyTyped Weak(std::vector<PinnedNode> pinned, std::vector<std::string> wide_io = {}) {
  onnx::ModelProto proto = ParsedProto(R"(<ir_version: 8, opset_import: ["": 17]>
      g (float[4] x, int64[1] k) => (float[n] v, int64[n] i) {
        a = Relu (x)
        b = Neg (a)
        c = Abs (b)
        d = Exp (c)
        e = Sqrt (d)
        v, i = TopK (e, k)
      })");
  const std::vector<std::string> names = {"/a:0/Relu", "", "it's", "one, two", "a name", "top"};
  for (size_t i = 0; i < names.size(); ++i)
    proto.mutable_graph()->mutable_node(static_cast<int>(i))->set_name(names[i]);
  return {Loaded(proto), std::move(pinned), std::move(wide_io)};
}

/// Pins a node of that model, which plans call by its name or, without one, its output.
PinnedNode Pin(const std::string& name, Precision precision = Precision::kFp32) {
  const std::map<std::string, std::vector<std::string>> outputs = {
      {"/a:0/Relu", {"a"}}, {"it's", {"c"}}, {"one, two", {"d"}}, {"a name", {"e"}}, {"top", {"v", "i"}}};
  const auto found = outputs.find(name);
  if (found == outputs.end()) return {name, precision, "", {name}};
  return {name, precision, name, found->second};
}

// The strings follow from how trtexec 8.6.1 and 10.15 take arguments apart: at commas, then at the last
// colon.
TEST(ExportTest, TrtexecPinsWhatRunsAndWhatIsStored) {
  const ToolArguments arguments = TrtexecArguments(Weak({Pin("/a:0/Relu"), Pin("b"), Pin("a name")}));
  EXPECT_EQ(arguments.text,
            "--fp16 --noTF32 --precisionConstraints=obey "
            "'--layerPrecisions=/a:0/Relu:fp32,node_of_b:fp32,a name:fp32' "
            "'--layerOutputTypes=/a:0/Relu:fp32,node_of_b:fp32,a name:fp32'");
  EXPECT_THAT(arguments.notes, IsEmpty());
}

TEST(ExportTest, TrtexecIsSpareWithQuotesAndWithoutPinsWithConstraints) {
  EXPECT_EQ(TrtexecArguments(Weak({})).text, "--fp16 --noTF32");
  EXPECT_EQ(TrtexecArguments(Weak({Pin("b")})).text,
            "--fp16 --noTF32 --precisionConstraints=obey --layerPrecisions=node_of_b:fp32 "
            "--layerOutputTypes=node_of_b:fp32");
}

TEST(ExportTest, NodesAreFoundByWhatTheyWrite) {
  const WeaklyTyped weak = Weak({{"b.before", Precision::kFp32, "", {"b"}}, Pin("top")});
  EXPECT_THAT(TrtexecArguments(weak).text, HasSubstr("--layerPrecisions=node_of_b:fp32,top:fp32 "));
}

TEST(ExportTest, TrtexecCannotBeToldOfCommasAndQuotes) {
  const ToolArguments arguments = TrtexecArguments(Weak({Pin("it's"), Pin("one, two"), Pin("b")}));
  ASSERT_THAT(arguments.notes, SizeIs(2));
  EXPECT_THAT(arguments.notes[0], HasSubstr("it's"));
  EXPECT_THAT(arguments.notes[1], HasSubstr("one, two"));
  EXPECT_THAT(arguments.text, HasSubstr("--layerPrecisions=node_of_b:fp32 "));
}

TEST(ExportTest, TrtexecTakesOneTypeForAllOutputs) {
  const ToolArguments arguments = TrtexecArguments(Weak({Pin("top")}));
  EXPECT_THAT(arguments.text, HasSubstr("--layerPrecisions=top:fp32"));
  EXPECT_THAT(arguments.text, Not(HasSubstr("--layerOutputTypes")));
  EXPECT_THAT(arguments.notes, ElementsAre(HasSubstr("top")));
}

TEST(ExportTest, TrtexecHasBf16From10On) {
  const ToolArguments arguments = TrtexecArguments(Weak({Pin("b", Precision::kBf16)}));
  EXPECT_THAT(arguments.text, HasSubstr("--bf16"));
  EXPECT_THAT(arguments.text, HasSubstr("node_of_b:bf16"));
  EXPECT_THAT(arguments.notes, ElementsAre(HasSubstr("8.6")));
}

TEST(ExportTest, InputsAndOutputsOfPinnedNodesAreNotConverted) {
  const WeaklyTyped weak = Weak({Pin("top")}, {"v", "it's"});
  const ToolArguments arguments = TrtexecArguments(weak);
  EXPECT_THAT(arguments.text, HasSubstr(" --directIO"));
  EXPECT_THAT(arguments.notes, testing::Contains(HasSubstr("for v, it's, which")));
  const std::string script = PolygraphyScript(weak).text;
  EXPECT_THAT(script, HasSubstr("obey --direct-io --trt-network-postprocess-script"));
  EXPECT_THAT(script, HasSubstr("WIDE_IO = [\"v\", \"it's\"]"));
  EXPECT_THAT(PolygraphyScript(Weak({Pin("b")})).text, Not(HasSubstr("--direct-io")));
}

// What the script does is tested where Python is: tests/engine_test.py.
TEST(ExportTest, PolygraphyScriptsHoldAnyName) {
  const ToolArguments script =
      PolygraphyScript(Weak({Pin("it's"), Pin("one, two"), Pin("b", Precision::kBf16)}));
  EXPECT_THAT(script.text, HasSubstr("    \"it's\": \"fp32\",\n    \"one, two\": \"fp32\",\n"));
  EXPECT_THAT(script.text, HasSubstr("    \"node_of_b\": \"bf16\",\n"));
  EXPECT_THAT(script.text, HasSubstr("--fp16 --bf16 --precision-constraints obey"));
  EXPECT_THAT(script.notes, SizeIs(1));
}

}  // namespace
}  // namespace halfsafe
