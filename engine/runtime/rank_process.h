// Ranks as processes of this machine: how rank 0 starts one, and what such a process does. They share a socket pair for
// messages, or memory and a socket pair that wakes, and a pipe for the pulse; nothing listens, so no stranger can reach
// a rank.
#pragma once

#include <string>

#include "engine/base/status.h"
#include "engine/runtime/rank_life.h"
#include "engine/runtime/rank_setup.h"
#include "engine/runtime/rank_team.h"

namespace foregate {

inline constexpr int kRankLineFd = 3;    // in the process of a rank
inline constexpr int kRankPulseFd = 4;   // likewise
inline constexpr int kRankMemoryFd = 5;  // likewise, where the line is in memory that both see

// Starts `program rank` with the setup, whose `rank` is set to the one that is asked for. `share_memory`: messages go
// through memory of both (shared_line.h), where the system gives some; otherwise over the socket.
RankLauncher process_launcher(std::string program, RankSetup setup, bool share_memory);

// The life of a rank: takes its setup from the line, loads, serves until rank 0 is gone. Not ok when it failed.
Status run_rank_process(const MakeRankBackend& make_backend);

}  // namespace foregate
