#include "base/file.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <fstream>

#include "base/test_support.h"
#include "halfsafe/error.h"

namespace halfsafe {
namespace {

class FileTest : public FolderTest {
 protected:
  size_t Entries() const {
    return static_cast<size_t>(
        std::distance(std::filesystem::directory_iterator(folder_), std::filesystem::directory_iterator()));
  }
};

TEST_F(FileTest, AppearsOnlyWhenCommitted) {
  {
    AtomicFile file(folder_ / "a");
    file.Write("half");
  }
  EXPECT_EQ(Entries(), 0u);
  AtomicFile file(folder_ / "a");
  file.Write("whole");
  EXPECT_FALSE(std::filesystem::exists(folder_ / "a"));
  file.Commit();
  EXPECT_EQ(MappedFile(folder_ / "a", "file").text(), "whole");
  EXPECT_EQ(Entries(), 1u);
}

TEST_F(FileTest, FullDiskIsAnErrorThatLeavesTheDeviceAlone) {
  EXPECT_THROW(
      {
        AtomicFile file("/dev/full");
        file.Write(std::string(1 << 20, 'x'));
        file.Commit();
      },
      Error);
  EXPECT_TRUE(std::filesystem::is_character_file("/dev/full"));
}

TEST_F(FileTest, RefusesFoldersAndMissingFiles) {
  EXPECT_THROW(AtomicFile file(folder_), Error);
  EXPECT_THROW(AtomicFile file(folder_ / "missing" / "a"), Error);
  EXPECT_THROW(MappedFile(folder_, "model"), Error);
  EXPECT_THROW(MappedFile(folder_ / "a", "model"), Error);
}

TEST_F(FileTest, FollowsALinkToTheFileBehindIt) {
  std::ofstream(folder_ / "real") << "old";
  std::filesystem::create_symlink("real", folder_ / "link");
  WriteFileAtomically(folder_ / "link", "new");
  EXPECT_TRUE(std::filesystem::is_symlink(folder_ / "link"));
  EXPECT_EQ(MappedFile(folder_ / "real", "file").text(), "new");
}

TEST_F(FileTest, ReplacesWhatIsThereOnlyWhenCommitted) {
  std::ofstream(folder_ / "a") << "old";
  {
    AtomicFile file(folder_ / "a");
    file.Write("half");
  }
  EXPECT_EQ(MappedFile(folder_ / "a", "file").text(), "old");
  WriteFileAtomically(folder_ / "a", "new");
  EXPECT_EQ(MappedFile(folder_ / "a", "file").text(), "new");
  EXPECT_EQ(Entries(), 1u);
}

TEST_F(FileTest, NamesKnownLateAndTwoWritersOfOnePlace) {
  AtomicFile one(folder_ / "a"), other(folder_ / "a");
  one.Write("one");
  other.Write("other");
  one.Commit();
  other.Commit();
  EXPECT_EQ(MappedFile(folder_ / "a", "file").text(), "other");
  AtomicFile late(folder_ / "a");
  late.CommitAs(folder_ / "b");
  EXPECT_EQ(Entries(), 2u);
}

TEST_F(FileTest, GivesThePermissionsThatTheUmaskAsksFor) {
  const mode_t before = umask(027);
  WriteFileAtomically(folder_ / "a", "x");
  umask(before);
  EXPECT_EQ(std::filesystem::status(folder_ / "a").permissions(), static_cast<std::filesystem::perms>(0640));
}

TEST_F(FileTest, LargeFilesAreMappedAndKnownByTheirAddress) {
  WriteFileAtomically(folder_ / "large", std::string(5 << 20, 'x'));
  WriteFileAtomically(folder_ / "small", "x");
  const MappedFile large(folder_ / "large", "file"), small(folder_ / "small", "file");
  EXPECT_EQ(MappedFileAt(large.bytes().data()), folder_ / "large");
  EXPECT_EQ(MappedFileAt(&large.bytes().back()), folder_ / "large");
  EXPECT_EQ(MappedFileAt(large.bytes().data() + large.bytes().size()), "");
  EXPECT_EQ(MappedFileAt(small.bytes().data()), "");
  small.Forget(small.bytes());
  EXPECT_EQ(small.text(), "x");
}

TEST_F(FileTest, PartsOfFiles) {
  WriteFileAtomically(folder_ / "a", "0123456789");
  EXPECT_EQ(ReadPart(folder_ / "a", "file", 3, 4), "3456");
  EXPECT_THROW(ReadPart(folder_ / "a", "file", 7, 4), Error);
  EXPECT_THROW(ReadPart(folder_ / "a", "file", 11, 0), Error);
}

TEST(HashTest, PieceByPiece) {
  Sha256 sha256;
  sha256.Add(std::as_bytes(std::span("ab", 2)));
  sha256.Add(std::as_bytes(std::span("c", 1)));
  EXPECT_EQ(sha256.Hex(), Sha256Hex(std::as_bytes(std::span("abc", 3))));
}

TEST(HashTest, Sha256OfTheStandardsExample) {
  // FIPS 180-4's example message.
  EXPECT_EQ(Sha256Hex(std::as_bytes(std::span("abc", 3))),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

TEST(Base64Test, ExamplesOfRfc4648) {
  for (const auto& [plain, coded] :
       std::initializer_list<std::pair<std::string, std::string>>{{"", ""},
                                                                  {"f", "Zg=="},
                                                                  {"fo", "Zm8="},
                                                                  {"foo", "Zm9v"},
                                                                  {"foob", "Zm9vYg=="},
                                                                  {"fooba", "Zm9vYmE="},
                                                                  {"foobar", "Zm9vYmFy"}}) {
    EXPECT_EQ(Base64Encode(std::as_bytes(std::span(plain.data(), plain.size()))), coded);
    EXPECT_EQ(Base64Decode(coded, "test"), plain);
  }
  EXPECT_THROW(Base64Decode("Zm9*", "test"), Error);
  EXPECT_THROW(Base64Decode("Zm9", "test"), Error);
}

TEST(Base64Test, LongInputsSurvive) {
  std::string plain;
  plain.resize(10'000'001);
  for (size_t i = 0; i < plain.size(); ++i) plain[i] = static_cast<char>(i * 31 >> 3);
  EXPECT_EQ(Base64Decode(Base64Encode(std::as_bytes(std::span(plain.data(), plain.size()))), "test"), plain);
}

}  // namespace
}  // namespace halfsafe
