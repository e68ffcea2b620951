#include "engine/runtime/memory_cgroup.h"

#include <algorithm>

#include "engine/runtime/proc_text.h"

namespace foregate {
namespace {

// Cuts what stands before the first `end`, or all of it, off `text`.
std::string_view take(std::string_view& text, char end) {
  const std::size_t at = text.find(end);
  const std::string_view part = text.substr(0, at);
  text.remove_prefix(at == std::string_view::npos ? text.size() : at + 1);
  return part;
}

bool has_word(std::string_view list, std::string_view word) {
  while (!list.empty()) {
    if (take(list, ',') == word) return true;
  }
  return false;
}

// One line of /proc/self/mountinfo that is a hierarchy of groups with memory in it.
struct Mount {
  bool unified = false;
  std::string_view root;
  std::string_view place;
};

// "31 23 0:28 ROOT PLACE OPTIONS [TAGS...] - TYPE SOURCE SUPER"
std::optional<Mount> parse_mount(std::string_view line) {
  const std::size_t dash = line.find(" - ");
  if (dash == std::string_view::npos) return std::nullopt;
  std::string_view rest = line.substr(dash + 3);
  const std::string_view type = take(rest, ' ');
  take(rest, ' ');
  if (type != "cgroup2" && !(type == "cgroup" && has_word(rest, "memory"))) return std::nullopt;
  for (int i = 0; i < 3; ++i) take(line, ' ');
  Mount mount{.unified = type == "cgroup2", .root = take(line, ' '), .place = {}};
  mount.place = take(line, ' ');
  return mount;
}

// The path of this process in the hierarchy of a mount: "4:memory:PATH", of version 2 "0::PATH".
std::optional<std::string_view> find_path(std::string_view self, bool unified) {
  while (!self.empty()) {
    std::string_view line = take(self, '\n');
    const std::string_view number = take(line, ':');
    const std::string_view controllers = take(line, ':');
    if (unified ? number == "0" && controllers.empty() : has_word(controllers, "memory")) return line;
  }
  return std::nullopt;
}

// The part of a group's path below the root of a mount; nothing when the group lies elsewhere.
std::string_view below(std::string_view path, std::string_view root) {
  if (root == "/") return path == "/" ? "" : path;
  if (!path.starts_with(root)) return "";
  path.remove_prefix(root.size());
  return path.starts_with('/') ? path : "";
}

}  // namespace

std::vector<MemoryCgroup> find_memory_cgroups(std::string_view self, std::string_view mountinfo) {
  std::vector<MemoryCgroup> groups;
  while (!mountinfo.empty()) {
    const auto mount = parse_mount(take(mountinfo, '\n'));
    if (!mount) continue;
    const auto path = find_path(self, mount->unified);
    if (!path) continue;
    groups.push_back({mount->unified, std::string(mount->place), std::string(below(*path, mount->root))});
  }
  return groups;
}

std::optional<std::int64_t> parse_cgroup_available(std::string_view limit, std::string_view usage,
                                                   std::string_view stat) {
  const auto most = leading_number(limit);
  const auto used = leading_number(usage);
  if (!most || !used) return std::nullopt;
  auto inactive = number_of_line(stat, "total_inactive_file ");
  if (!inactive) inactive = number_of_line(stat, "inactive_file ");
  const std::int64_t reclaimable = std::min(inactive.value_or(0), *used);
  return std::max<std::int64_t>(0, *most - (*used - reclaimable));
}

std::optional<std::int64_t> cgroup_available(const MemoryCgroup& group,
                                             const std::function<std::string(const std::string& path)>& read) {
  const char* limit = group.unified ? "/memory.max" : "/memory.limit_in_bytes";
  const char* usage = group.unified ? "/memory.current" : "/memory.usage_in_bytes";
  std::optional<std::int64_t> least;
  for (std::string path = group.path;; path.resize(path.rfind('/'))) {
    const std::string dir = group.mount + path;
    const auto left = parse_cgroup_available(read(dir + limit), read(dir + usage), read(dir + "/memory.stat"));
    if (left && (!least || *left < *least)) least = left;
    if (path.empty()) return least;
  }
}

}  // namespace foregate
