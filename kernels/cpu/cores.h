// How many cores this process may use, and why: the physical cores in its affinity mask (which its cpuset bounds),
// capped by the CPU quotas of its cgroup and of those above, version 1 and 2. Pure questions, asked once at start.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace foregate {

struct CoreCount {
  int cpus = 1;   // logical CPUs in the affinity mask
  int cores = 1;  // physical cores among them
  int quota = 0;  // whole CPUs that the quotas grant, rounded down but at least 1; 0: no limit
};

CoreCount count_cores();  // of this process
// The same for the given CPUs from the files under `root`: proc/self/{cgroup,mountinfo}, the cgroup mounts named there,
// and sys/devices/system/cpu. Files that are missing or not understood leave out what they would say.
CoreCount count_cores(const std::string& root, const std::vector<int>& cpus);

int usable_cores(const CoreCount& count);            // at least 1
std::string describe_cores(const CoreCount& count);  // "2 physical cores, 4 CPUs in the affinity mask, quota 1"

// Whole CPUs granted by the text of a cgroup v2 cpu.max file, or of the two v1 files joined ("max 100000",
// "150000 100000"); rounded down but at least 1. 0 when there is no limit or the text is not understood.
int cpus_of_quota(std::string_view cpu_max);

}  // namespace foregate
