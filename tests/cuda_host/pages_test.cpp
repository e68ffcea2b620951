// Pages of the emulated device: taken and given back, never more than was set aside, out of reach in between.
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <functional>
#include <vector>

#include "kernels/cuda/cuda_device.h"
#include "kernels/cuda/cuda_stream.h"
#include "kernels/cuda/device_pages.h"
#include "tests/cuda_host/emulator.h"

namespace foregate {
namespace {

class CudaPages : public ::testing::Test {
 protected:
  void SetUp() override {
    emu::clear_faults();
    emu::forget_errors();
    std::string error;
    pages_ = DevicePages::open(0, &error);
    ASSERT_NE(pages_, nullptr) << error;
    page_ = pages_->page_bytes();
  }
  void TearDown() override { emu::clear_faults(); }

  std::vector<std::byte> contents(const std::byte* from, std::size_t bytes) {
    std::vector<std::byte> values(bytes);
    CudaStream stream;
    stream.download(values.data(), from, bytes);
    stream.synchronize();
    EXPECT_EQ(stream.failure(), nullptr);
    return values;
  }
  void fill(std::byte* to, std::byte value) {
    const std::vector<std::byte> values(page_, value);
    CudaStream stream;
    stream.upload(to, values.data(), page_);
    stream.synchronize();
    EXPECT_EQ(stream.failure(), nullptr);
  }

  std::shared_ptr<DevicePages> pages_;
  std::size_t page_ = 0;
};

TEST_F(CudaPages, ComeAsZerosAndNeverBeyondWhatIsHeld) {
  const std::uint64_t before = emu::counters().live_bytes;
  {
    const Memory first = pages_->reserve(4, page_);
    const Memory second = pages_->reserve(4, page_);
    ASSERT_TRUE(first && second);
    EXPECT_EQ(emu::counters().live_bytes, before) << "addresses are no memory";
    EXPECT_FALSE(pages_->take(first.data(), page_)) << "nothing is held yet";
    ASSERT_TRUE(pages_->hold(3 * page_ + page_ / 2));
    EXPECT_EQ(emu::counters().live_bytes, before + 3 * page_);
    ASSERT_TRUE(pages_->take(first.data(), 2 * page_));
    EXPECT_EQ(contents(first.data(), 2 * page_), std::vector<std::byte>(2 * page_, std::byte{0}));
    fill(first.data() + page_, std::byte{7});
    EXPECT_FALSE(pages_->take(second.data(), 2 * page_));
    ASSERT_TRUE(pages_->take(second.data(), page_));
    pages_->give_back(first.data() + page_, page_);
    ASSERT_TRUE(pages_->take(second.data() + page_, page_));
    EXPECT_EQ(contents(second.data() + page_, page_), std::vector<std::byte>(page_, std::byte{0}));
    EXPECT_EQ(emu::counters().live_bytes, before + 3 * page_);
  }
  EXPECT_EQ(emu::counters().live_bytes, before + 3 * page_) << "they are held still";
  pages_.reset();
  EXPECT_EQ(emu::counters().live_bytes, before);
}

TEST_F(CudaPages, WhatFailsHalfwayIsTakenBack) {
  const Memory memory = pages_->reserve(4, page_);
  emu::fail_calls("cuMemCreate", 2, 2);
  EXPECT_FALSE(pages_->hold(4 * page_));
  emu::clear_faults();
  ASSERT_TRUE(pages_->hold(4 * page_));
  emu::fail_calls("cuMemMap", 2, 2);
  EXPECT_FALSE(pages_->take(memory.data(), 4 * page_));
  emu::clear_faults();
  EXPECT_TRUE(pages_->take(memory.data(), 4 * page_));
}

// A page that was given back is out of reach: who still uses it is found out.
TEST_F(CudaPages, UseAfterGivingBackShows) {
  const Memory memory = pages_->reserve(2, page_);
  ASSERT_TRUE(pages_->hold(2 * page_) && pages_->take(memory.data(), 2 * page_));
  const auto dies = [](const std::function<void()>& act) {
    const pid_t child = fork();
    if (child == 0) {
      std::freopen("/dev/null", "w", stderr);
      act();
      _exit(0);
    }
    int status = 0;
    waitpid(child, &status, 0);
    return !(WIFEXITED(status) && WEXITSTATUS(status) == 0);
  };
  EXPECT_FALSE(dies([&] { fill(memory.data() + page_, std::byte{1}); }));
  pages_->give_back(memory.data() + page_, page_);
  EXPECT_FALSE(dies([&] { fill(memory.data(), std::byte{1}); }));
  EXPECT_TRUE(dies([&] { fill(memory.data() + page_, std::byte{1}); }));
}

TEST_F(CudaPages, ADriverWithoutThemSaysSo) {
  emu::fail_calls("cudaGetDriverEntryPoint", 2, 0);
  std::string error;
  EXPECT_EQ(DevicePages::open(0, &error), nullptr);
  EXPECT_NE(error.find("driver"), std::string::npos) << error;
}

}  // namespace
}  // namespace foregate
