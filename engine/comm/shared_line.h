// A line through memory that two processes of one machine share: a message is there as soon as it is written, without a
// call to the system while both ends are awake; a futex wakes an end that sleeps. One thread may send while another
// receives. Ends that wait look for a while before they sleep, so each should have a core of its own. Nothing goes over
// the stream socket between them: that it ends says that the other process is gone, however that happened.
#pragma once

#include <memory>

#include "engine/base/status.h"
#include "engine/comm/transport.h"

namespace foregate {

inline constexpr std::size_t kSharedRingBytes = 256 * 1024;  // of each direction; longer messages pass piece by piece

// A file without a name, of fixed size and with its memory taken. kUnavailable, with the reason, where there is none.
Result<int> make_line_memory();

enum class LineEnd { kFirst, kSecond };
// Takes over both descriptors, also when it fails: kDataLoss for memory that make_line_memory() did not make. The two
// ends do not trust each other: what one writes beyond the protocol ends the line of the other.
Result<std::unique_ptr<RankLine>> shared_line(int socket_fd, int memory_fd, LineEnd end);

}  // namespace foregate
