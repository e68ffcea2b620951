// The control groups that limit this process's memory, of version 2 or 1, nested or not: found in what the kernel says
// of the process and its mounts. Pure; files come from the caller.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace foregate {

// The group of this process in one hierarchy that has a memory controller, or may have one.
struct MemoryCgroup {
  bool unified = true;  // version 2
  std::string mount;    // where the hierarchy is mounted, without a trailing slash
  std::string path;     // of the group below it: "" or "/a/b"
};

// `self` is the text of /proc/self/cgroup, `mountinfo` that of /proc/self/mountinfo. A hierarchy of which only a part
// is mounted, as in containers, begins at that part.
std::vector<MemoryCgroup> find_memory_cgroups(std::string_view self, std::string_view mountinfo);

// What a control group leaves: limit - (usage - reclaimable). `limit` is the text of memory.max ("max" = none) or
// memory.limit_in_bytes, `usage` of memory.current or memory.usage_in_bytes, `stat` of memory.stat (its inactive_file,
// in version 1 total_inactive_file, is reclaimable).
std::optional<std::int64_t> parse_cgroup_available(std::string_view limit, std::string_view usage,
                                                   std::string_view stat);

// The least that the group and those around it leave; none when no limit is known. `read` gives the text of a file,
// empty when there is none.
std::optional<std::int64_t> cgroup_available(const MemoryCgroup& group,
                                             const std::function<std::string(const std::string& path)>& read);

}  // namespace foregate
