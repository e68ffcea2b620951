#include "kernels/cpu/cores.h"

#include <gtest/gtest.h>
#include <sched.h>

#include <filesystem>
#include <fstream>
#include <string>

namespace foregate::testing {
namespace {

namespace fs = std::filesystem;

// A file tree in a folder of its own, as /proc and /sys would hold it.
class Tree {
 public:
  Tree() {
    const auto* info = ::testing::UnitTest::GetInstance()->current_test_info();
    root_ = fs::path(::testing::TempDir()) / (std::string("foregate_") + info->test_suite_name() + "_" + info->name());
    fs::remove_all(root_);
  }
  ~Tree() { fs::remove_all(root_); }
  Tree& put(const std::string& path, const std::string& text) {
    fs::create_directories((root_ / path).parent_path());
    std::ofstream(root_ / path) << text;
    return *this;
  }
  // `cpus` CPUs, `siblings` of them to a core; two cores to a package.
  Tree& processor(int cpus, int siblings) {
    for (int cpu = 0; cpu < cpus; ++cpu) {
      const std::string folder = "sys/devices/system/cpu/cpu" + std::to_string(cpu) + "/topology/";
      const int core = cpu / siblings;
      put(folder + "core_id", std::to_string(core % 2) + "\n");
      put(folder + "physical_package_id", std::to_string(core / 2) + "\n");
    }
    return *this;
  }
  Tree& version2(const std::string& group, const std::string& mount_root = "/") {
    put("proc/self/mountinfo", "22 1 0:20 / /proc rw - proc proc rw\n30 23 0:26 " + mount_root +
                                   " /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n");
    return put("proc/self/cgroup", "0::" + group + "\n");
  }
  Tree& version1(const std::string& group, const std::string& mount_root = "/") {
    put("proc/self/mountinfo", "33 30 0:28 " + mount_root +
                                   " /sys/fs/cgroup/cpu,cpuacct rw,nosuid - cgroup cgroup rw,cpu,cpuacct\n"
                                   "34 30 0:29 / /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset\n");
    return put("proc/self/cgroup", "5:cpuset:/elsewhere\n4:cpu,cpuacct:" + group + "\n0::/\n");
  }
  std::string root() const { return root_.string(); }

 private:
  fs::path root_;
};

TEST(Cores, CountsPhysicalCoresOfTheMask) {
  Tree tree;
  tree.processor(8, 2);
  const CoreCount all = count_cores(tree.root(), {0, 1, 2, 3, 4, 5, 6, 7});
  EXPECT_EQ(all.cpus, 8);
  EXPECT_EQ(all.cores, 4);
  EXPECT_EQ(all.quota, 0);
  EXPECT_EQ(usable_cores(all), 4);
  EXPECT_EQ(count_cores(tree.root(), {0, 1}).cores, 1);  // siblings
  EXPECT_EQ(count_cores(tree.root(), {1, 2, 7}).cores, 3);
}

TEST(Cores, WithoutTopologyEveryCpuIsACore) {
  Tree tree;
  EXPECT_EQ(count_cores(tree.root(), {3, 4, 9}).cores, 3);
  EXPECT_EQ(usable_cores(count_cores(tree.root(), {})), 1);
}

TEST(Cores, Version2QuotaOfTheGroupAndThoseAbove) {
  Tree tree;
  tree.processor(8, 1).version2("/pods/one/app");
  tree.put("sys/fs/cgroup/pods/one/app/cpu.max", "max 100000\n");
  EXPECT_EQ(count_cores(tree.root(), {0, 1, 2, 3}).quota, 0);
  tree.put("sys/fs/cgroup/pods/cpu.max", "350000 100000\n");
  EXPECT_EQ(count_cores(tree.root(), {0, 1, 2, 3}).quota, 3);
  tree.put("sys/fs/cgroup/pods/one/app/cpu.max", "200000 100000\n");
  const CoreCount count = count_cores(tree.root(), {0, 1, 2, 3});
  EXPECT_EQ(count.quota, 2);
  EXPECT_EQ(usable_cores(count), 2);
  tree.put("sys/fs/cgroup/pods/cpu.max", "50000 100000\n");
  EXPECT_EQ(usable_cores(count_cores(tree.root(), {0, 1, 2, 3})), 1);
}

TEST(Cores, Version2InAContainerThatSeesItsOwnGroupAsRoot) {
  Tree tree;
  tree.processor(4, 1).version2("/docker/abc", "/docker/abc").put("sys/fs/cgroup/cpu.max", "300000 100000\n");
  EXPECT_EQ(count_cores(tree.root(), {0, 1, 2, 3}).quota, 3);
}

TEST(Cores, Version1QuotaOfTheGroupAndThoseAbove) {
  Tree tree;
  tree.processor(8, 1).version1("/pods/app");
  const std::string base = "sys/fs/cgroup/cpu,cpuacct/";
  tree.put(base + "pods/app/cpu.cfs_quota_us", "-1\n").put(base + "pods/app/cpu.cfs_period_us", "100000\n");
  EXPECT_EQ(count_cores(tree.root(), {0, 1, 2}).quota, 0);
  tree.put(base + "cpu.cfs_quota_us", "250000\n").put(base + "cpu.cfs_period_us", "100000\n");
  EXPECT_EQ(count_cores(tree.root(), {0, 1, 2}).quota, 2);
  tree.put(base + "pods/app/cpu.cfs_quota_us", "50000\n");
  EXPECT_EQ(usable_cores(count_cores(tree.root(), {0, 1, 2})), 1);
}

TEST(Cores, Version1InAContainerThatSeesItsOwnGroupAsRoot) {
  Tree tree;
  const std::string base = "sys/fs/cgroup/cpu,cpuacct/";
  tree.processor(4, 1).version1("/docker/abc", "/docker/abc");
  tree.put(base + "cpu.cfs_quota_us", "200000\n").put(base + "cpu.cfs_period_us", "100000\n");
  EXPECT_EQ(count_cores(tree.root(), {0, 1, 2, 3}).quota, 2);
}

TEST(Cores, DamagedFilesLeaveTheQuotaOut) {
  Tree tree;
  tree.processor(4, 1).put("proc/self/mountinfo", "nonsense\n\n- cgroup2\n").put("proc/self/cgroup", "no colons\n0:\n");
  EXPECT_EQ(count_cores(tree.root(), {0, 1}).quota, 0);
  tree.version2("").put("sys/fs/cgroup/cpu.max", "many\n");
  EXPECT_EQ(count_cores(tree.root(), {0, 1}).quota, 0);
}

TEST(Cores, ThisProcess) {
  cpu_set_t before;
  ASSERT_EQ(sched_getaffinity(0, sizeof before, &before), 0);
  EXPECT_EQ(count_cores().cpus, CPU_COUNT(&before));
  int first = 0;
  while (!CPU_ISSET(first, &before)) ++first;
  cpu_set_t one;
  CPU_ZERO(&one);
  CPU_SET(first, &one);
  ASSERT_EQ(sched_setaffinity(0, sizeof one, &one), 0);
  const CoreCount count = count_cores();
  ASSERT_EQ(sched_setaffinity(0, sizeof before, &before), 0);
  EXPECT_EQ(count.cpus, 1);
  EXPECT_EQ(usable_cores(count), 1);
}

TEST(Cores, Text) {
  EXPECT_EQ(describe_cores({4, 2, 0}), "2 physical cores, 4 CPUs in the affinity mask, no CPU quota");
  EXPECT_EQ(describe_cores({1, 1, 3}), "1 physical core, 1 CPU in the affinity mask, CPU quota 3");
}

TEST(Cores, QuotaText) {
  EXPECT_EQ(cpus_of_quota("max 100000\n"), 0);
  EXPECT_EQ(cpus_of_quota("200000 100000\n"), 2);
  EXPECT_EQ(cpus_of_quota("150000 100000"), 1);
  EXPECT_EQ(cpus_of_quota("50000 100000"), 1);
  EXPECT_EQ(cpus_of_quota("-1\n 100000\n"), 0);
  EXPECT_EQ(cpus_of_quota("400000\n 100000\n"), 4);
  EXPECT_EQ(cpus_of_quota(""), 0);
  EXPECT_EQ(cpus_of_quota("100000"), 0);
  EXPECT_EQ(cpus_of_quota("100000 0"), 0);
  EXPECT_EQ(cpus_of_quota("99999999999999999999 1"), 0);
  EXPECT_EQ(cpus_of_quota("garbage 100000"), 0);
}

}  // namespace
}  // namespace foregate::testing
