#include "model/data_file.h"

#include <gtest/gtest.h>

#include <fstream>
#include <vector>

#include "base/test_support.h"
#include "halfsafe/error.h"

namespace halfsafe {
namespace {

namespace fs = std::filesystem;

class DataFileTest : public FolderTest {
 protected:
  bool Empty() const { return fs::is_empty(folder_); }

  const std::vector<std::byte> bytes_ = std::vector<std::byte>(100, std::byte{7});
};

TEST_F(DataFileTest, IsCalledByWhatItHolds) {
  std::string names[3];
  for (int i = 0; i < 3; ++i) {
    DataFile file(folder_ / "m.onnx");
    EXPECT_EQ(file.Append(bytes_), 0u);
    EXPECT_EQ(file.Append(std::span(bytes_).first(i == 2 ? 1 : 2)), 4096u);
    names[i] = file.Finish();
  }
  EXPECT_EQ(names[0], names[1]);
  EXPECT_NE(names[0], names[2]);
  EXPECT_TRUE(names[0].starts_with("m.onnx.") && names[0].ends_with(".data"));
  EXPECT_TRUE(Empty());
}

TEST_F(DataFileTest, GoesUnlessItIsKept) {
  {
    DataFile file(folder_ / "m.onnx");
    file.Append(bytes_);
    const std::string name = file.Finish();
    file.Commit();
    EXPECT_TRUE(fs::exists(folder_ / name));
  }
  EXPECT_TRUE(Empty());
  fs::path kept;
  for (int i = 0; i < 2; ++i) {  // The second finds it there, and leaves it.
    DataFile file(folder_ / "m.onnx");
    file.Append(bytes_);
    file.Finish();
    file.Commit();
    if (i == 0) kept = file.Keep();
  }
  EXPECT_TRUE(fs::exists(kept));
}

TEST_F(DataFileTest, FindsTheFilesOfAModel) {
  const std::string good = "m.onnx.0123456789abcdef.data";
  std::ofstream(folder_ / "m.onnx") << "x" << good << "m.onnx.0123456789abcdeg.data m.onnx.data other.onnx."
                                    << good.substr(7) << "m.onnx.0123";
  EXPECT_EQ(DataFilesOf(folder_ / "m.onnx"), std::set<fs::path>{folder_ / good});
  EXPECT_TRUE(DataFilesOf(folder_ / "missing").empty());
  EXPECT_TRUE(DataFilesOf(folder_).empty());
}

}  // namespace
}  // namespace halfsafe
