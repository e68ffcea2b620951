// A job of processes that mpirun or srun started, as Foregate's ranks see it: lines between rank 0 and the others,
// their pulse, and the end of the job. MPI has no wait with a limit, so who waits asks: a little while at once, then in
// sleeps of up to a millisecond. Rank 0 has a thread that carries pulses to sockets, where the keeper of ranks polls
// them.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "engine/base/status.h"
#include "engine/comm/mpi_port.h"
#include "engine/comm/transport.h"

namespace foregate {

class MpiJob : public std::enable_shared_from_this<MpiJob> {
 public:
  // Loads the module at `path`; empty: libforegate_mpi.so beside the program or in ../lib. kUnavailable says why not.
  static Result<std::shared_ptr<MpiJob>> join(const std::string& path);
  // Over a port that outlives it; `silent_after`: other ranks take rank 0 for gone.
  explicit MpiJob(MpiPort& port, TimeNs silent_after = kSilentNs);
  ~MpiJob();

  std::int32_t rank() const { return port_.rank(); }
  std::int32_t size() const { return port_.size(); }
  // How many ranks share the cores that this process may use: 1 where it is bound to its own.
  std::int32_t ranks_sharing_cores() const;

  // From rank 0 to another or from another to rank 0. Once: a line that was closed has no successor.
  std::shared_ptr<RankLine> line(std::int32_t peer);

  // Rank 0. What rank `peer` says of itself comes out of `fd`, of a stream socket, which the job owns until
  // end_pulses(). The first call starts the thread.
  void pulses_to(std::int32_t peer, int fd);
  void end_pulses(std::int32_t peer);
  // A rank of the job cannot be relied on any more: leave() will not wait for it.
  void lost(std::int32_t peer);

  // Other ranks. False: rank 0 has been silent for too long, or is leaving.
  bool pulse(char says);
  // Until rank 0 says that the job is over or is silent.
  void wait_for_end();

  // Last call of a process. Rank 0 ends the job. MPI_Finalize, for ten seconds at most, where all ranks are alive;
  // else what started the ranks ends what is left of them.
  void leave();

  // For lines. Null: refused. A message that is not over stays here with its bytes.
  MpiPort& port() { return port_; }
  void keep(MpiPort::Request* request, std::vector<std::byte> bytes);

  static constexpr TimeNs kSilentNs = 30'000'000'000;

 private:
  struct Kept {
    MpiPort::Request* request;
    std::vector<std::byte> bytes;
  };

  void tell(std::int32_t peer, int tag, std::byte what);
  bool take(std::int32_t peer, int tag, std::byte& what);
  void carry_pulses();
  bool rank_zero_is_there();
  void reap();

  MpiPort& port_;
  const TimeNs silent_after_;
  std::mutex mutex_;
  std::vector<Kept> kept_;
  std::map<std::int32_t, int> pulses_;  // by rank: where they go
  std::thread carrier_;
  bool stopping_ = false;
  bool lost_ = false;    // a rank
  TimeNs heard_at_ = 0;  // when rank 0 was, by another
  bool over_ = false;    // so it said
  bool left_ = false;    // the port may not be asked any more
};

}  // namespace foregate
