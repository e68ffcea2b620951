// The wait for a group of peers (kernels/api/peers.h): it ends with the group, with its failure, or at a deadline.
#pragma once

#include <atomic>

#include "engine/base/clock.h"
#include "engine/base/status.h"
#include "kernels/api/peers.h"

namespace foregate {

// Ok without a group, and once it is done. kUnavailable: the group failed, or `gone` (may be null) was set by another
// thread, which knows that the other peer is; kDeadlineExceeded: it did not end in time. After an error the peers are
// aborted. Times are of system_clock().
Status finish_group(Peers& peers, TimeNs deadline, const std::atomic<bool>* gone = nullptr);
// One block each way, begun; kUnavailable when it cannot be. `peer` is the other of two.
Status begin_send(Peers& peers, const void* data, std::size_t bytes);
Status begin_receive(Peers& peers, void* data, std::size_t bytes);

}  // namespace foregate
