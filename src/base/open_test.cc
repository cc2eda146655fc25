#include "base/open.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <fstream>
#include <initializer_list>

#include "base/test_support.h"
#include "halfsafe/error.h"

namespace halfsafe {
namespace {

std::string Text(const OpenedFile& file) {
  std::array<char, 64> text{};
  const ssize_t size = read(file.fd(), text.data(), text.size());
  return {text.data(), static_cast<size_t>(std::max<ssize_t>(size, 0))};
}

/// A folder with a model's weights, and a file beside the folder that no model may read.
struct Place {
  const TempFolder outer;
  const std::filesystem::path folder = outer / "model", secret = outer / "secret";

  Place() {
    WriteText(folder / "weights", "weights");
    WriteText(folder / "inner" / "weights", "inner");
    WriteText(secret, "secret");
  }
};

/// Both ways to open: by the kernel, and part by part.
class OpenInsideTest
    : public testing::TestWithParam<OpenedFile (*)(const std::filesystem::path&, const std::string&)> {
 protected:
  OpenedFile Open(const std::string& location) const { return GetParam()(place_.folder, location); }
  void Refuses(const std::string& location, std::initializer_list<std::string_view> parts) const {
    SCOPED_TRACE(location);
    ExpectBad([&] { Open(location); }, parts);
  }
  Place place_;
};

TEST_P(OpenInsideTest, FilesInside) {
  EXPECT_EQ(Text(Open("weights")), "weights");
  EXPECT_EQ(Text(Open("./weights")), "weights");
  EXPECT_EQ(Text(Open("inner//weights")), "inner");
}

TEST_P(OpenInsideTest, PathsThatLeadOut) {
  Refuses("", {"no location"});
  Refuses("../secret", {"leads out"});
  Refuses("inner/../../secret", {"leads out"});
  Refuses(place_.secret.string(), {"absolute"});
  Refuses(std::string("weights\0x", 9), {"zero byte"});
  Refuses("gone", {"gone", "No such file"});
  Refuses("weights/", {});
}

TEST_P(OpenInsideTest, LinksThatLeadOut) {
  std::filesystem::create_symlink("../secret", place_.folder / "relative");
  std::filesystem::create_symlink(place_.secret, place_.folder / "absolute");
  std::filesystem::create_symlink(place_.outer.path(), place_.folder / "up");
  std::filesystem::create_symlink("/proc/self/root", place_.folder / "root");
  for (const char* location : {"relative", "absolute", "up/secret", "root/etc/passwd"})
    Refuses(location, {"link", "cp -rL"});
}

TEST_P(OpenInsideTest, FilesWithASecondName) {
  std::filesystem::create_hard_link(place_.secret, place_.folder / "second");
  Refuses("second", {"hard links", "cp -rL"});
}

TEST_P(OpenInsideTest, WhatIsNoFile) {
  ASSERT_EQ(mkfifo((place_.folder / "pipe").c_str(), 0600), 0);
  const int fd = socket(AF_UNIX, SOCK_STREAM, 0);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const std::string name = (place_.folder / "socket").string();
  ASSERT_LT(name.size(), sizeof(address.sun_path));
  name.copy(address.sun_path, name.size());
  ASSERT_EQ(bind(fd, reinterpret_cast<const sockaddr*>(&address), sizeof(address)), 0);
  Refuses("pipe", {"not a regular file"});
  Refuses("socket", {"socket"});
  Refuses("inner", {"not a regular file"});
  close(fd);
}

TEST_P(OpenInsideTest, DevicesAndWhatTheKernelMakesUp) {
  for (const char* location : {"dev/zero", "dev/null"}) {
    ExpectBad([&] { GetParam()("/", location); }, {"not a regular file"});
  }
  // A model that lies in / could name them. Such files claim to be empty, and no more is ever mapped.
  EXPECT_EQ(GetParam()("/", "proc/version").size(), 0);
}

INSTANTIATE_TEST_SUITE_P(Each, OpenInsideTest, testing::Values(&OpenInside, &OpenInsideByParts),
                         [](const auto& test) { return test.index == 0 ? "ByTheKernel" : "ByParts"; });

TEST(OpenInside, FollowsLinksThatStayInside) {
  const Place place;
  std::filesystem::create_symlink("inner/weights", place.folder / "link");
  EXPECT_EQ(Text(OpenInside(place.folder, "link")), "inner");
  ExpectBad([&] { OpenInsideByParts(place.folder, "link"); }, {"link", "cp -rL"});
}

TEST(OpenRegular, FollowsLinksAndWaitsForNobody) {
  const Place place;
  std::filesystem::create_symlink(place.secret, place.folder / "link");
  EXPECT_EQ(Text(OpenRegular(place.folder / "link", "model")), "secret");
  ASSERT_EQ(mkfifo((place.folder / "pipe").c_str(), 0600), 0);
  ExpectBad([&] { OpenRegular(place.folder / "pipe", "model"); }, {"model", "pipe", "not a regular file"});
  ExpectBad([&] { OpenRegular("/dev/zero", "model"); }, {"/dev/zero", "not a regular file"});
}

}  // namespace
}  // namespace halfsafe
