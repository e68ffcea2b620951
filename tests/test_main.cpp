// Entry of every test program: broken bookkeeping is fatal here (kernels/api/check.h), and what tests write goes to a
// folder of this process, which is removed at the end.
#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <string>
#include <system_error>

#include "kernels/api/check.h"

namespace {

// Makes testing::TempDir() and std::filesystem::temp_directory_path() a folder of its own.
class OwnFolder : public ::testing::Environment {
 public:
  void SetUp() override {
    std::string path = (std::filesystem::temp_directory_path() / "foregate_test_XXXXXX").string();
    ASSERT_NE(::mkdtemp(path.data()), nullptr) << path;
    path_ = path + "/";  // testing::TempDir() is expected to end so
    ::setenv("TEST_TMPDIR", path_.c_str(), 1);
    ::setenv("TMPDIR", path_.c_str(), 1);
  }
  void TearDown() override {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }

 private:
  std::string path_;
};

}  // namespace

int main(int argc, char** argv) {
  ::testing::InitGoogleTest(&argc, argv);
  ::testing::AddGlobalTestEnvironment(new OwnFolder);
  foregate::make_bugs_fatal();
  return RUN_ALL_TESTS();
}
