#include "base/temporary.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <fstream>
#include <string>
#include <vector>

#include "base/test_support.h"

namespace halfsafe {
namespace {

namespace fs = std::filesystem;

class TemporaryTest : public FolderTest {
 protected:
  std::vector<std::string> Names() const {
    std::vector<std::string> names;
    for (const auto& entry : fs::directory_iterator(folder_)) names.push_back(entry.path().filename());
    std::sort(names.begin(), names.end());
    return names;
  }
};

TEST_F(TemporaryTest, GoesWithItsOwner) {
  {
    const Temporary file = Temporary::File(folder_ / "a"), folder = Temporary::Folder(folder_ / "b");
    std::ofstream(folder.path() / "inside") << "x";
    EXPECT_EQ(Names(), (std::vector<std::string>{"a.halfsafe-0", "b.halfsafe-0"}));
  }
  EXPECT_TRUE(Names().empty());
}

TEST_F(TemporaryTest, MovesToItsPlace) {
  Temporary file = Temporary::File(folder_ / "a");
  EXPECT_TRUE(file.MoveTo(folder_ / "a"));
  EXPECT_FALSE(file);
  EXPECT_EQ(Names(), std::vector<std::string>{"a"});
}

TEST_F(TemporaryTest, OthersThatLiveKeepTheirs) {
  const Temporary one = Temporary::File(folder_ / "a");
  const Temporary other = Temporary::File(folder_ / "a");
  RemoveStaleTemporaries(folder_ / "a");
  EXPECT_EQ(Names(), (std::vector<std::string>{"a.halfsafe-0", "a.halfsafe-1"}));
}

TEST_F(TemporaryTest, WhatNobodyHoldsIsRemoved) {
  std::ofstream(folder_ / "a.halfsafe-0") << "of a killed process";
  fs::create_directories(folder_ / "a.halfsafe-1" / "inside");
  std::ofstream(folder_ / "b.halfsafe-0") << "for another place";
  RemoveStaleTemporaries(folder_ / "a");
  EXPECT_EQ(Names(), std::vector<std::string>{"b.halfsafe-0"});
}

TEST_F(TemporaryTest, WhatIsNoTemporaryStays) {
  std::ofstream(folder_ / "precious") << "x";
  fs::create_symlink("precious", folder_ / "a.halfsafe-0");
  ASSERT_EQ(mkfifo((folder_ / "a.halfsafe-1").c_str(), 0600), 0);
  const Temporary file = Temporary::File(folder_ / "a");
  EXPECT_EQ(file.path().filename(), "a.halfsafe-2");
  EXPECT_EQ(Names().size(), 4u);
}

TEST_F(TemporaryTest, LongNamesAreCut) {
  const std::string name(255, 'n');
  const Temporary one = Temporary::File(folder_ / name), other = Temporary::File(folder_ / name);
  EXPECT_TRUE(one && other);
}

TEST_F(TemporaryTest, UnnamedFilesGetANameOnce) {
  const int fd = OpenUnnamed(folder_);
  if (fd < 0) GTEST_SKIP() << "no unnamed files on this file system";
  EXPECT_TRUE(Names().empty());
  EXPECT_TRUE(NameUnnamed(fd, folder_ / "a"));
  EXPECT_FALSE(NameUnnamed(fd, folder_ / "a"));
  EXPECT_EQ(errno, EEXIST);
  EXPECT_EQ(Names(), std::vector<std::string>{"a"});
  close(fd);
}

TEST_F(TemporaryTest, MissingFolder) {
  EXPECT_FALSE(Temporary::File(folder_ / "missing" / "a"));
  EXPECT_EQ(errno, ENOENT);
}

TEST_F(TemporaryTest, AbandonedAtTheEndOfTheProcess) {
  const auto end = [&] {
    const Temporary file = Temporary::File(folder_ / "a");
    const Temporary folder = Temporary::Folder(folder_ / "b");
    std::ofstream(folder.path() / "inside") << "x";
    AbandonTemporaries();
    std::_Exit(7);
  };
  EXPECT_EXIT(end(), testing::ExitedWithCode(7), "");
  EXPECT_TRUE(Names().empty());
}

}  // namespace
}  // namespace halfsafe
