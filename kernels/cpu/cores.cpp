#include "kernels/cpu/cores.h"

#include <sched.h>

#include <algorithm>
#include <charconv>
#include <fstream>
#include <iterator>
#include <optional>
#include <set>
#include <sstream>
#include <utility>

namespace foregate {
namespace {

std::string read_text(const std::string& path) {
  std::ifstream in(path);
  return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
}

int read_int(const std::string& path, int otherwise) {
  const std::string text = read_text(path);
  int value = otherwise;
  std::from_chars(text.data(), text.data() + text.size(), value);
  return value;
}

// Distinct (package, core) pairs; a CPU without topology files is a core of its own.
int physical_cores(const std::string& root, const std::vector<int>& cpus) {
  std::set<std::pair<int, int>> cores;
  for (const int cpu : cpus) {
    const std::string topology = root + "/sys/devices/system/cpu/cpu" + std::to_string(cpu) + "/topology/";
    cores.emplace(read_int(topology + "physical_package_id", 0), read_int(topology + "core_id", 1'000'000 + cpu));
  }
  return std::max<int>(1, static_cast<int>(cores.size()));
}

bool has_word(std::string_view list, std::string_view word) {
  return ("," + std::string(list) + ",").find("," + std::string(word) + ",") != std::string::npos;
}

// The path of this process below the hierarchy that has the cpu controller, from the text of /proc/self/cgroup:
// "number:controllers:path", without controllers for version 2.
std::optional<std::string> cgroup_path(const std::string& text, bool version2) {
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    const std::size_t first = line.find(':');
    const std::size_t second = first == std::string::npos ? first : line.find(':', first + 1);
    if (second == std::string::npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1);
    if (version2 ? controllers.empty() : has_word(controllers, "cpu")) return line.substr(second + 1);
  }
  return std::nullopt;
}

struct CgroupMount {
  std::string root;   // the group that is seen at `point`
  std::string point;  // where
};

// From the text of /proc/self/mountinfo (proc(5)): the mount of cgroup2, or of the cgroup with the cpu controller.
std::optional<CgroupMount> cgroup_mount(const std::string& text, bool version2) {
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    std::istringstream words(line);
    std::string word, type, source, options;
    CgroupMount mount;
    for (int skipped = 0; skipped < 3; ++skipped) words >> word;
    words >> mount.root >> mount.point;
    while (words >> word && word != "-") {
    }
    words >> type >> source >> options;
    if (version2 ? type == "cgroup2" : type == "cgroup" && has_word(options, "cpu")) return mount;
  }
  return std::nullopt;
}

// The smallest quota from the process's group up to the mount's root; 0 for none.
int quota_of(const std::string& root, bool version2) {
  const auto mount = cgroup_mount(read_text(root + "/proc/self/mountinfo"), version2);
  auto path = cgroup_path(read_text(root + "/proc/self/cgroup"), version2);
  if (!mount || !path) return 0;
  // A container often sees its own group as the mount's root while its path is still told from the outermost one.
  if (mount->root != "/" && path->starts_with(mount->root)) *path = path->substr(mount->root.size());
  int least = 0;
  for (std::string group = *path;; group.resize(group.rfind('/'))) {
    const std::string folder = root + mount->point + group + "/cpu.";
    const int cpus =
        cpus_of_quota(version2 ? read_text(folder + "max")
                               : read_text(folder + "cfs_quota_us") + " " + read_text(folder + "cfs_period_us"));
    if (cpus > 0) least = least == 0 ? cpus : std::min(least, cpus);
    if (group.find('/') == std::string::npos) return least;
  }
}

}  // namespace

int cpus_of_quota(std::string_view cpu_max) {
  long long values[2] = {0, 0};
  const char* at = cpu_max.data();
  const char* const end = at + cpu_max.size();
  for (long long& value : values) {
    while (at != end && (*at == ' ' || *at == '\n')) ++at;
    const auto [next, error] = std::from_chars(at, end, value);
    if (error != std::errc() || value <= 0) return 0;
    at = next;
  }
  return static_cast<int>(std::clamp<long long>(values[0] / values[1], 1, 1 << 20));
}

CoreCount count_cores(const std::string& root, const std::vector<int>& cpus) {
  CoreCount count;
  count.cpus = std::max<int>(1, static_cast<int>(cpus.size()));
  count.cores = physical_cores(root, cpus);
  for (const bool version2 : {true, false}) {
    const int quota = quota_of(root, version2);
    if (quota > 0) count.quota = count.quota == 0 ? quota : std::min(count.quota, quota);
  }
  return count;
}

CoreCount count_cores() {
  cpu_set_t mask;
  CPU_ZERO(&mask);
  std::vector<int> cpus;
  if (sched_getaffinity(0, sizeof mask, &mask) == 0) {
    for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
      if (CPU_ISSET(cpu, &mask)) cpus.push_back(cpu);
    }
  }
  return count_cores("", cpus);
}

int usable_cores(const CoreCount& count) {
  return count.quota > 0 ? std::min(count.cores, count.quota) : count.cores;
}

std::string describe_cores(const CoreCount& count) {
  return std::to_string(count.cores) + (count.cores == 1 ? " physical core, " : " physical cores, ") +
         std::to_string(count.cpus) + (count.cpus == 1 ? " CPU" : " CPUs") + " in the affinity mask, " +
         (count.quota > 0 ? "CPU quota " + std::to_string(count.quota) : "no CPU quota");
}

}  // namespace foregate
