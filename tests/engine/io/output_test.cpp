// The directory that a pack writes into: one writer, no silent short writes, errors by their cause.
#include "engine/io/output.h"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <sstream>

namespace foregate {
namespace {

namespace fs = std::filesystem;

std::string text_of(const fs::path& path) {
  std::stringstream text;
  text << std::ifstream(path, std::ios::binary).rdbuf();
  return text.str();
}

std::span<const std::byte> bytes(std::string_view text) {
  return std::as_bytes(std::span(text));
}

class Output : public ::testing::Test {
 protected:
  void SetUp() override {
    base_ = fs::path(::testing::TempDir()) / ("foregate_output_" + std::to_string(::getpid()));
    fs::remove_all(base_);
  }
  void TearDown() override { fs::remove_all(base_); }
  fs::path base_;
};

TEST_F(Output, WritesRenamesRemoves) {
  auto out = open_output_directory((base_ / "a/b").string());
  ASSERT_TRUE(out.ok()) << out.status().to_string();
  EXPECT_TRUE((*out)->names()->empty());
  EXPECT_GT(*(*out)->free_bytes(), 0u);
  auto file = (*out)->open("x");
  ASSERT_TRUE(file.ok());
  EXPECT_TRUE((*file)->write(4, bytes("tail")).ok());
  EXPECT_TRUE((*file)->write(0, bytes("head")).ok());
  EXPECT_TRUE((*file)->sync().ok());
  EXPECT_EQ(text_of(base_ / "a/b/x"), "headtail");
  EXPECT_TRUE((*file)->resize(6).ok());
  auto again = (*out)->open("x");
  ASSERT_TRUE(again.ok());
  EXPECT_EQ(text_of(base_ / "a/b/x"), "headta") << "opening keeps what is there";
  ASSERT_TRUE((*out)->open("y").ok());
  EXPECT_TRUE((*out)->rename("x", "y").ok());
  EXPECT_EQ(*(*out)->names(), std::vector<std::string>{"y"});
  EXPECT_EQ(text_of(base_ / "a/b/y"), "headta");
  ASSERT_TRUE((*out)->open("folder/z").ok());
  EXPECT_TRUE(fs::exists(base_ / "a/b/folder/z"));
  EXPECT_TRUE((*out)->remove("y").ok());
  EXPECT_FALSE((*out)->remove("y").ok());
  EXPECT_TRUE((*out)->sync().ok());
}

TEST_F(Output, HasOneWriter) {
  auto first = open_output_directory(base_.string());
  ASSERT_TRUE(first.ok());
  EXPECT_EQ(open_output_directory(base_.string()).status().code(), Code::kUnavailable);
  first = internal_error("closed");
  EXPECT_TRUE(open_output_directory(base_.string()).ok());
}

TEST_F(Output, RefusesWhatIsNoDirectory) {
  fs::create_directories(base_);
  std::ofstream(base_ / "file") << "x";
  EXPECT_EQ(open_output_directory((base_ / "file").string()).status().code(), Code::kInvalidArgument);
  EXPECT_EQ(open_output_directory((base_ / "file/below").string()).status().code(), Code::kInvalidArgument);
}

// A size limit stands for a full disk: the write stops in the middle and says so.
TEST_F(Output, NamesALimitThatIsReached) {
  auto out = open_output_directory(base_.string());
  ASSERT_TRUE(out.ok());
  auto file = (*out)->open("x");
  ASSERT_TRUE(file.ok());
  struct rlimit before {};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  struct rlimit small = before;
  small.rlim_cur = 6;
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
  const Status status = (*file)->write(0, bytes("ten  bytes"));
  ::setrlimit(RLIMIT_FSIZE, &before);
  std::signal(SIGXFSZ, handler);
  EXPECT_EQ(status.code(), Code::kResourceExhausted) << status.to_string();
  EXPECT_NE(status.message().find("/x"), std::string::npos) << status.message();
}

}  // namespace
}  // namespace foregate
