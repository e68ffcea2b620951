// Who comes first: the scheduling policies behind one interface. Each is a pure function from what it may know of the
// sequences to their order; what a policy remembers are plain values that the runtime keeps and these functions
// change. Any thread.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "engine/base/ids.h"
#include "engine/sched/policy_dlpm.h"
#include "engine/sched/policy_mlfq.h"

namespace foregate {

enum class PolicyKind : std::uint8_t {
  kFcfs,      // by arrival
  kPriority,  // by Request::priority, then by arrival
  kMlfq,      // by level: what is short, or has had little, first
  kDlpm,      // the longest known prefix first, among clients that have had no more than their share
};

std::optional<PolicyKind> policy_named(std::string_view name);
const char* policy_name(PolicyKind kind);
// Whether better ranks take rows and blocks from worse ones that already run (plan_step with SchedLimits::ranked).
constexpr bool takes_from_running(PolicyKind kind) {
  return kind == PolicyKind::kPriority || kind == PolicyKind::kMlfq;
}

struct PolicyOptions {
  PolicyKind kind = PolicyKind::kFcfs;
  MlfqOptions mlfq;
  DlpmOptions dlpm;
};

// What a policy may know of a sequence.
struct PolicyView {
  SeqId id;  // ascending by arrival
  std::int32_t priority = 0;
  MlfqState mlfq;
  std::uint64_t client = 0;
  std::int32_t tokens = 0;  // to compute when it is admitted, if nothing is known
  std::int32_t known = 0;   // of these, in blocks that the prefix cache has
  bool running = false;     // holds blocks
  bool paused = false;
  bool was_preempted = false;  // its admission was paid for
};

// Indices into `views`, best rank first. A strict order: equal views in the order of arrival.
std::vector<std::size_t> policy_order(const PolicyOptions& options, std::span<const PolicyView> views,
                                      const DlpmBook& book);

std::vector<std::size_t> fcfs_order(std::span<const PolicyView> views);
std::vector<std::size_t> priority_order(std::span<const PolicyView> views);
std::vector<std::size_t> mlfq_order(std::span<const PolicyView> views);
// Those that run by arrival, then those that wait.
std::vector<std::size_t> dlpm_order(std::span<const PolicyView> views, const DlpmOptions& options, DlpmBook book);

}  // namespace foregate
