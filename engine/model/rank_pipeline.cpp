#include "engine/model/rank_pipeline.h"

#include <utility>

namespace foregate {

RankPipeline::RankPipeline(RankLine& line, std::function<void(RankJob&)> compute,
                           std::function<Status(RankJob&)> answer)
    : line_(line), compute_(std::move(compute)), answer_(std::move(answer)) {}

RankPipeline::~RankPipeline() {
  line_.close();  // an answer that nobody takes ends here
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  if (computer_.joinable()) computer_.join();
  if (answerer_.joinable()) answerer_.join();
}

void RankPipeline::push(RankJob job) {
  if (!computer_.joinable()) {
    computer_ = std::thread([this] { compute_jobs(); });
    answerer_ = std::thread([this] { answer_jobs(); });
  }
  {
    const std::lock_guard lock(mutex_);
    ++open_[job.room];
    to_compute_.push_back(std::move(job));
  }
  changed_.notify_all();
}

Status RankPipeline::wait_free(std::size_t room) {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return open_[room] == 0 || !failed_.ok(); });
  return failed_;
}

// False: there is no more to do.
bool RankPipeline::take(std::deque<RankJob>& from, RankJob& job) {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return stopping_ || !failed_.ok() || !from.empty(); });
  if (stopping_ || !failed_.ok()) return false;
  job = std::move(from.front());
  from.pop_front();
  return true;
}

void RankPipeline::compute_jobs() {
  RankJob job;
  while (take(to_compute_, job)) {
    compute_(job);
    {
      const std::lock_guard lock(mutex_);
      to_answer_.push_back(std::move(job));
    }
    changed_.notify_all();
  }
}

void RankPipeline::answer_jobs() {
  RankJob job;
  while (take(to_answer_, job)) {
    const Status sent = answer_(job);
    {
      const std::lock_guard lock(mutex_);
      --open_[job.room];
      if (!sent.ok()) failed_ = sent;
    }
    changed_.notify_all();
  }
}

}  // namespace foregate
