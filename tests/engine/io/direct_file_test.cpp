// Reads past the page cache, their fallbacks, and what both kinds of local files refuse.
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>

#include "engine/io/file.h"

namespace foregate {
namespace {

namespace fs = std::filesystem;

struct Free {
  void operator()(std::byte* p) const { std::free(p); }
};
using Pages = std::unique_ptr<std::byte, Free>;

Pages pages(std::size_t bytes) {
  return Pages(static_cast<std::byte*>(std::aligned_alloc(kDirectPage, bytes)));
}

class DirectFiles : public ::testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    if (!fs::is_directory(GetParam())) GTEST_SKIP() << "no " << GetParam();
    path_ = fs::path(GetParam()) / ("foregate_direct_" + std::to_string(::getpid()));
    for (std::size_t i = 0; i < 3 * kDirectPage + 100; ++i) text_ += static_cast<char>(i * 31 + i / 251);
    std::ofstream(path_, std::ios::binary) << text_;
  }
  void TearDown() override { fs::remove(path_); }

  std::string read(const File& file, std::uint64_t offset, std::byte* to, std::size_t bytes) {
    const Status status = file.read(offset, {to, bytes});
    EXPECT_TRUE(status.ok()) << status.to_string();
    return std::string(reinterpret_cast<const char*>(to), bytes);
  }

  fs::path path_;
  std::string text_;
};

// Whatever the alignment and whether O_DIRECT is taken, the bytes are the file's.
TEST_P(DirectFiles, ReadTheFilesBytesAtEveryAlignment) {
  auto file = local_files().open_direct(path_.string());
  ASSERT_TRUE(file.ok()) << file.status().to_string();
  EXPECT_EQ((*file)->size(), text_.size());
  EXPECT_GT((*file)->modified_ns(), 0);
  const Pages memory = pages(4 * kDirectPage);
  for (const std::size_t shift : {0, 1, 64, 512}) {
    for (const std::size_t offset : {std::size_t{0}, std::size_t{7}, kDirectPage, 2 * kDirectPage}) {
      for (const std::size_t bytes : {std::size_t{0}, std::size_t{5}, kDirectPage, text_.size() - 2 * kDirectPage}) {
        EXPECT_EQ(read(**file, offset, memory.get() + shift, bytes), text_.substr(offset, bytes))
            << shift << " " << offset << " " << bytes;
      }
    }
  }
}

TEST_P(DirectFiles, RefuseWhatIsNotThere) {
  auto file = local_files().open_direct(path_.string());
  ASSERT_TRUE(file.ok());
  const Pages memory = pages(4 * kDirectPage);
  EXPECT_EQ((*file)->read(kDirectPage, {memory.get(), 3 * kDirectPage}).code(), Code::kDataLoss);
  EXPECT_EQ((*file)->read(UINT64_MAX, {memory.get(), kDirectPage}).code(), Code::kDataLoss);
  fs::resize_file(path_, kDirectPage);
  EXPECT_EQ((*file)->read(kDirectPage, {memory.get(), kDirectPage}).code(), Code::kDataLoss);
  EXPECT_EQ(local_files().open_direct(path_.string() + ".none").status().code(), Code::kNotFound);
  EXPECT_EQ(local_files().open_direct(GetParam()).status().code(), Code::kInvalidArgument);
}

// A file system on a disk, and one in memory (which takes O_DIRECT or refuses it, by the kernel's age).
INSTANTIATE_TEST_SUITE_P(FileSystems, DirectFiles, ::testing::Values("/tmp", "/dev/shm"));

TEST(DirectFile, AFileThatRefusesIsReadThroughTheCache) {
  const std::string path = "/proc/self/status";  // a regular file of size 0 that knows no O_DIRECT
  auto file = local_files().open_direct(path);
  ASSERT_TRUE(file.ok()) << file.status().to_string();
  EXPECT_FALSE((*file)->direct());
  EXPECT_TRUE((*file)->read(0, {}).ok());
}

TEST(DirectFile, PlainFilesAreNotDirect) {
  auto file = local_files().open("/proc/self/status");
  ASSERT_TRUE(file.ok());
  EXPECT_FALSE((*file)->direct());
}

}  // namespace
}  // namespace foregate
