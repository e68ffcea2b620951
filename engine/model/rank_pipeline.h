// Rows that come in several messages, on their way through a rank: the caller reads, one thread computes, one answers.
// Reading waits for neither, so that rank 0 is never stopped in the middle of what it sends; computing does not wait
// for an answer to be taken. Owned by RankExperts::serve(); what waits is bounded by the protocol (rank_experts.cpp).
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>

#include "engine/base/status.h"
#include "engine/comm/transport.h"
#include "engine/model/expert_rows.h"

namespace foregate {

// One message of rows. Its values are in a room of the rank, its outputs get there.
struct RankJob {
  ExpertRows rows;
  std::uint64_t epoch = 0;
  std::size_t room = 0;
  std::int64_t first_out = 0;  // row of the room's outputs
  std::uint64_t compute_ns = 0;
  Status computed;
};
inline constexpr std::size_t kRankRooms = 2;  // exchanges that may be under way: one for each half of a step

class RankPipeline {
 public:
  // `compute` and `answer` are called by threads of the pipeline, which begin with the first job, each with one job at
  // a time, in the order of push().
  RankPipeline(RankLine& line, std::function<void(RankJob&)> compute, std::function<Status(RankJob&)> answer);
  ~RankPipeline();  // closes the line
  RankPipeline(const RankPipeline&) = delete;
  RankPipeline& operator=(const RankPipeline&) = delete;

  void push(RankJob job);
  // Until all jobs of the room were answered; as the first answer fails that could not be sent.
  Status wait_free(std::size_t room);

 private:
  void compute_jobs();
  void answer_jobs();
  bool take(std::deque<RankJob>& from, RankJob& job);

  RankLine& line_;
  const std::function<void(RankJob&)> compute_;
  const std::function<Status(RankJob&)> answer_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<RankJob> to_compute_, to_answer_;
  std::size_t open_[kRankRooms] = {};  // jobs that are not answered, by room
  Status failed_;
  bool stopping_ = false;
  std::thread computer_, answerer_;
};

}  // namespace foregate
