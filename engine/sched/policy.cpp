#include "engine/sched/policy.h"

#include "kernels/api/check.h"

namespace foregate {

std::optional<PolicyKind> policy_named(std::string_view name) {
  for (PolicyKind kind : {PolicyKind::kFcfs, PolicyKind::kPriority, PolicyKind::kMlfq, PolicyKind::kDlpm}) {
    if (name == policy_name(kind)) return kind;
  }
  return std::nullopt;
}

const char* policy_name(PolicyKind kind) {
  switch (kind) {
    case PolicyKind::kFcfs: return "fcfs";
    case PolicyKind::kPriority: return "priority";
    case PolicyKind::kMlfq: return "mlfq";
    case PolicyKind::kDlpm: return "dlpm";
  }
  return "fcfs";
}

std::vector<std::size_t> policy_order(const PolicyOptions& options, std::span<const PolicyView> views,
                                      const DlpmBook& book) {
  switch (options.kind) {
    case PolicyKind::kFcfs: return fcfs_order(views);
    case PolicyKind::kPriority: return priority_order(views);
    case PolicyKind::kMlfq: return mlfq_order(views);
    case PolicyKind::kDlpm: return dlpm_order(views, options.dlpm, book);
  }
  return fcfs_order(views);
}

}  // namespace foregate
