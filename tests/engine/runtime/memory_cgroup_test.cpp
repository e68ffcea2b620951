// Which control groups limit a process, read from texts as kernels and container engines write them.
#include "engine/runtime/memory_cgroup.h"

#include <gtest/gtest.h>

#include <map>

namespace foregate {
namespace {

constexpr const char* kUnifiedMounts =
    "22 1 254:1 / / rw,relatime - ext4 /dev/vda1 rw\n"
    "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate,memory_recursiveprot\n";
constexpr const char* kFirstMounts =
    "31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755\n"
    "32 31 0:29 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu\n"
    "35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n"
    "41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n";

struct Found {
  bool unified;
  std::string mount, path;
  bool operator==(const Found&) const = default;
};

std::vector<Found> found(std::string_view self, std::string_view mounts) {
  std::vector<Found> all;
  for (const MemoryCgroup& group : find_memory_cgroups(self, mounts)) {
    all.push_back({group.unified, group.mount, group.path});
  }
  return all;
}

TEST(FindMemoryCgroups, OfVersionTwo) {
  const std::vector<Found> nested = {{true, "/sys/fs/cgroup", "/system.slice/foregate.service"}};
  EXPECT_EQ(found("0::/system.slice/foregate.service\n", kUnifiedMounts), nested);
  const std::vector<Found> root = {{true, "/sys/fs/cgroup", ""}};
  EXPECT_EQ(found("0::/\n", kUnifiedMounts), root) << "a container with a namespace of its own";
}

TEST(FindMemoryCgroups, OfVersionOneAndOfBothAtOnce) {
  const char* self = "9:name=systemd:/\n8:pids:/\n4:memory:/jobs/5c6f\n2:cpu,cpuacct:/x\n0::/\n";
  const std::vector<Found> expected = {{false, "/sys/fs/cgroup/memory", "/jobs/5c6f"},
                                       {true, "/sys/fs/cgroup/unified", ""}};
  EXPECT_EQ(found(self, kFirstMounts), expected);
}

TEST(FindMemoryCgroups, InContainersThatMountAPart) {
  const char* mounts =
      "600 590 0:32 /docker/abc /sys/fs/cgroup/memory ro,nosuid master:17 - cgroup cgroup rw,memory,hugetlb\n";
  const std::vector<Found> own = {{false, "/sys/fs/cgroup/memory", ""}};
  EXPECT_EQ(found("4:hugetlb,memory:/docker/abc\n", mounts), own);
  const std::vector<Found> inner = {{false, "/sys/fs/cgroup/memory", "/inner"}};
  EXPECT_EQ(found("4:memory:/docker/abc/inner\n", mounts), inner);
  EXPECT_EQ(found("4:memory:/docker/abcdef\n", mounts), own) << "a name that only begins alike";
  EXPECT_EQ(found("4:memory:/elsewhere\n", mounts), own);
}

TEST(FindMemoryCgroups, NoneInTextsThatSayNothing) {
  EXPECT_TRUE(found("", kUnifiedMounts).empty());
  EXPECT_TRUE(found("0::/\n", "").empty());
  EXPECT_TRUE(found("8:pids:/\nodd\n", kFirstMounts).empty());
  EXPECT_TRUE(found("0::/\n", "31 23 0:28 / /sys - \n31\n - cgroup2\n\n").size() <= 1);
}

TEST(ParseCgroupAvailable, LeavesOutWhatCanBeReclaimed) {
  EXPECT_EQ(parse_cgroup_available("1000\n", "700\n", "anon 3\ninactive_file 200\n"), 500);
  EXPECT_EQ(parse_cgroup_available("1000\n", "700\n", "inactive_file 9\ntotal_inactive_file 200\n"), 500);
  EXPECT_EQ(parse_cgroup_available("1000\n", "1700\n", ""), 0);
  EXPECT_EQ(parse_cgroup_available("1000\n", "100\n", "inactive_file 500\n"), 1000);
  EXPECT_EQ(parse_cgroup_available("max\n", "700\n", ""), std::nullopt);
  EXPECT_EQ(parse_cgroup_available("", "", ""), std::nullopt);
}

std::optional<std::int64_t> available(const MemoryCgroup& group, const std::map<std::string, std::string>& files) {
  return cgroup_available(group, [&files](const std::string& path) {
    const auto at = files.find(path);
    return at == files.end() ? std::string() : at->second;
  });
}

TEST(CgroupAvailable, IsTheLeastOfTheGroupAndThoseAroundIt) {
  std::map<std::string, std::string> files = {{"/m/memory.max", "5000"},
                                              {"/m/memory.current", "1000"},
                                              {"/m/a/memory.max", "3000"},
                                              {"/m/a/memory.current", "900"},
                                              {"/m/a/b/memory.max", "max"},
                                              {"/m/a/b/memory.current", "800"},
                                              {"/m/a/memory.stat", "inactive_file 100"}};
  EXPECT_EQ(available({true, "/m", "/a/b"}, files), 2200);
  EXPECT_EQ(available({true, "/m", ""}, files), 4000);
  files["/m/a/b/memory.max"] = "1000";
  EXPECT_EQ(available({true, "/m", "/a/b"}, files), 200);
  EXPECT_EQ(available({true, "/n", "/a/b"}, files), std::nullopt);
  EXPECT_EQ(available({false, "/m", "/a/b"}, files), std::nullopt) << "files of the other version";
}

TEST(CgroupAvailable, OfVersionOneReadsItsNames) {
  const std::map<std::string, std::string> files = {{"/v/memory.limit_in_bytes", "9223372036854771712"},
                                                    {"/v/memory.usage_in_bytes", "123456"},
                                                    {"/v/j/memory.limit_in_bytes", "2000"},
                                                    {"/v/j/memory.usage_in_bytes", "600"},
                                                    {"/v/j/memory.stat", "cache 5\ntotal_inactive_file 100\n"}};
  EXPECT_EQ(available({false, "/v", "/j"}, files), 1500);
  EXPECT_EQ(available({false, "/v", ""}, files), 9223372036854771712 - 123456);
}

}  // namespace
}  // namespace foregate
