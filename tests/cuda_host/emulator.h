// The emulator's controls for tests: the seed that orders threads, blocks and copies, faults that a test plants, what
// went wrong in a launch, and which barriers exist. State of the whole process; launches come one at a time.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace foregate::emu {

// Threads between barriers, blocks of a grid and asynchronous copies run in an order drawn from this.
void set_seed(std::uint64_t seed);

// A line of a kernel where threads meet.
struct Site {
  std::string file;
  int line;
  bool operator<(const Site& other) const { return file != other.file ? file < other.file : line < other.line; }
};
std::vector<Site> barriers_seen();  // since forget_barriers()
void forget_barriers();

// Planted faults, until clear_faults().
void skip_barrier(const Site& site);                      // as if that line were missing
void turn_shuffles(int lanes);                            // every shuffle reads the lane `lanes` further on
void skip_copy_waits();                                   // waits for asynchronous copies return at once
void lose_threads();                                      // the first thread of every block does nothing
void shorten_grids();                                     // the last block of every grid does not run
void skip_stream_waits();                                 // as if streams never waited for events
void fail_calls(const char* name, int error, int after);  // cudaMalloc, launch or memcpy, after so many good ones
void clear_faults();

// What the last failed launch did: threads that wait for ones which never come, shared memory that was not asked for.
// Such a launch also leaves a sticky error, as on a device; forget_errors() is a new process.
std::string last_report();
void forget_errors();

// Device memory is out of the host's reach except while the device works (on by default).
void protect_device_memory(bool on);

struct Counters {
  std::uint64_t launches = 0;        // those in graphs counted whenever one runs
  std::uint64_t graph_launches = 0;  // of graphs
  std::uint64_t library_calls = 0;   // likewise, of them: a library's
  std::uint64_t waits = 0;           // of the host, for a whole stream
  std::uint64_t copies = 0;
  std::uint64_t maps = 0;    // pages that addresses were led to (driver.cpp)
  std::uint64_t unmaps = 0;  // and no longer
  std::uint64_t live_allocations = 0;
  std::uint64_t live_bytes = 0;
};
Counters counters();

}  // namespace foregate::emu
