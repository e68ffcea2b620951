#include "engine/runtime/rank_team.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "engine/base/log.h"
#include "kernels/api/check.h"

namespace foregate {
namespace {

std::string name_of(RankId rank) {
  return "rank " + std::to_string(rank.value);
}

}  // namespace

Counter& RankTeam::counter(const char* name, const char* help) {
  Metrics& metrics = options_.metrics != nullptr ? *options_.metrics : own_metrics_;
  return metrics.counter(name, help, {{"model_name", options_.model_name}});
}

Gauge& RankTeam::gauge(const char* name, const char* help) {
  Metrics& metrics = options_.metrics != nullptr ? *options_.metrics : own_metrics_;
  return metrics.gauge(name, help, {{"model_name", options_.model_name}});
}

void RankTeam::wake() {
  const std::uint64_t one = 1;
  if (::write(wake_fd_, &one, sizeof one) < 0) return;  // full: it is awake
}

RankTeam::RankTeam(PlacementPlan plan, RankLauncher launcher, RankTeamOptions options)
    : plan_(std::move(plan)),
      launcher_(std::move(launcher)),
      options_(std::move(options)),
      rows_(counter("moe_exchange_rows", "Rows that went to other ranks for their experts, and came back")),
      bytes_(counter("moe_exchange_bytes", "Bytes of the messages that carried them")),
      moves_(counter("moe_exchange_moves", "Rows that went to another rank to go on there")),
      context_bytes_(counter("moe_exchange_context_bytes", "Of those bytes, keys and values of such rows")),
      one_all_to_all_steps_(
          counter("moe_exchange_one_all_to_all_steps", "Steps whose rows stayed where their experts are")),
      chunks_(counter("moe_exchange_chunks", "Messages of rows that were one of several to the same rank and layer")),
      halves_(counter("moe_exchange_halves", "Steps whose two halves took turns at this rank and the others")),
      overlap_trials_(counter("moe_exchange_overlap_trials", "Steps that overlapped to see whether that pays")),
      overlap_trials_spared_(counter("moe_exchange_overlap_trials_spared",
                                     "Such steps that were not run, since all that is waited for would not pay")),
      peer_bytes_(counter("moe_exchange_nccl_bytes", "Of moe_exchange_bytes, what went from GPU to GPU by NCCL")),
      restarts_counter_(
          counter("foregate_rank_restarts", "Ranks that were started again after they died, hung or talked nonsense")),
      serving_(gauge("foregate_ranks_serving", "Ranks that serve, this one among them")),
      sharing_memory_(gauge("foregate_ranks_sharing_memory", "Ranks that serve, reached through memory of both")),
      by_peers_(gauge("moe_exchange_nccl_ranks", "Other ranks whose rows go from GPU to GPU by NCCL")),
      report_(options_.metrics ? *options_.metrics : own_metrics_, options_.model_name),
      wake_fd_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  CHECK(wake_fd_ >= 0);
  if (options_.peers.device != nullptr) devices_ = std::make_unique<DeviceBook>(options_.peers.device->identity());
  for (std::int32_t r = 1; r < plan_.ranks(); ++r)
    ranks_.push_back(Rank{.id = RankId{r}, .process = {}, .join = nullptr, .dropped = {}});
  keeper_ = std::thread([this] { keep(); });
}

RankTeam::~RankTeam() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake();
  keeper_.join();
  ::close(wake_fd_);
}

Status RankTeam::wait_serving() {
  std::unique_lock lock(mutex_);
  const Rank* ended = nullptr;
  changed_.wait(lock, [&] {
    bool all = true;
    for (const Rank& rank : ranks_) {
      if (rank.failures > 0) ended = &rank;
      all = all && rank.state == State::kServing;
    }
    return all || ended != nullptr;
  });
  if (ended == nullptr) return {};
  return unavailable(name_of(ended->id) + " ended before it served; its log says why");
}

std::uint64_t RankTeam::restarts() const {
  const std::lock_guard lock(mutex_);
  return restarts_;
}

Result<std::shared_ptr<RankLine>> RankTeam::line(RankId rank) {
  const std::lock_guard lock(mutex_);
  const Rank& at = ranks_.at(static_cast<std::size_t>(rank.value - 1));
  if (at.state != State::kServing || !at.dropped.empty()) return unavailable("it is being started again");
  return at.process.line;
}

void RankTeam::drop(RankId rank, const Status& why) {
  {
    const std::lock_guard lock(mutex_);
    Rank& at = ranks_.at(static_cast<std::size_t>(rank.value - 1));
    if (at.state != State::kServing || !at.dropped.empty()) return;
    at.dropped = why.message();
  }
  wake();
}

TimeNs RankTeam::answer_deadline() const {
  return system_clock().now() + options_.answer_limit;
}

void RankTeam::keep() {
  while (true) {
    {
      const std::lock_guard lock(mutex_);
      const TimeNs now = system_clock().now();
      if (stopping_) {
        for (Rank& rank : ranks_) {
          if (rank.state != State::kDown) end(rank, "", now);
        }
        return;
      }
      int serving = 1;
      int sharing = 0;
      for (Rank& rank : ranks_) {
        look_at(rank, now);
        if (rank.state != State::kServing) continue;
        ++serving;
        sharing += rank.process.shares_memory ? 1 : 0;
      }
      serving_.set(serving);
      sharing_memory_.set(sharing);
      count_peers();
    }
    changed_.notify_all();
    poll_ranks();
  }
}

void RankTeam::count(const Crossed& crossed) {
  rows_.add(static_cast<double>(crossed.rows));
  bytes_.add(static_cast<double>(crossed.bytes));
  moves_.add(static_cast<double>(crossed.moves));
  context_bytes_.add(static_cast<double>(crossed.context_bytes));
  peer_bytes_.add(static_cast<double>(crossed.peer_bytes));
  one_all_to_all_steps_.add(static_cast<double>(crossed.one_all_to_all_steps));
  chunks_.add(static_cast<double>(crossed.chunks));
  halves_.add(static_cast<double>(crossed.halved_steps));
  overlap_trials_.add(static_cast<double>(crossed.overlap_trials));
  overlap_trials_spared_.add(static_cast<double>(crossed.overlap_trials_spared));
}

// Waits for a pulse, an end, a wish, or the time at which a rank counts as hung or is to be started.
int RankTeam::poll_ranks() {
  std::vector<pollfd> wanted = {{.fd = wake_fd_, .events = POLLIN, .revents = 0}};
  TimeNs wait = 0;
  {
    const std::lock_guard lock(mutex_);
    if (stopping_) return 0;
    for (const Rank& rank : ranks_) {
      if (rank.state != State::kDown) wanted.push_back({.fd = rank.process.pulse_fd, .events = POLLIN, .revents = 0});
    }
    wait = std::max<TimeNs>(0, next_event() - system_clock().now());
  }
  const int ready =
      ::poll(wanted.data(), wanted.size(), static_cast<int>(std::min<TimeNs>(wait / 1'000'000 + 1, 60'000)));
  std::uint64_t wishes = 0;
  if (::read(wake_fd_, &wishes, sizeof wishes) < 0) return ready;
  return ready;
}

TimeNs RankTeam::next_event() const {
  TimeNs next = kNoDeadline;
  for (const Rank& rank : ranks_) {
    next = std::min(next, rank.state == State::kDown ? rank.start_at : rank.last_pulse + options_.hung_after);
  }
  return next;
}

// What was said is read before a rank is judged, so that a keeper which slept itself blames nobody.
void RankTeam::look_at(Rank& rank, TimeNs now) {
  if (rank.state != State::kDown) read_pulse(rank, now);
  if (rank.state != State::kDown && !rank.dropped.empty()) end(rank, rank.dropped, now);
  if (rank.state != State::kDown && now - rank.last_pulse > options_.hung_after) end(rank, "it has no pulse", now);
  if (rank.state == State::kDown && now >= rank.start_at) start(rank, now);
}

void RankTeam::read_pulse(Rank& rank, TimeNs now) {
  char beats[256];
  while (true) {
    const ssize_t got = ::read(rank.process.pulse_fd, beats, sizeof beats);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return;
    if (got <= 0) return end(rank, "it has died", now);
    rank.last_pulse = now;
    if (beats[got - 1] != kPulseServing || rank.state == State::kServing || !has_joined(rank)) continue;
    rank.state = State::kServing;
    rank.failures = 0;
    log_info(name_of(rank.id) + " serves");
  }
}

void RankTeam::start(Rank& rank, TimeNs now) {
  auto launched = launcher_(rank.id);
  if (!launched.ok()) {
    log_error(name_of(rank.id) + " cannot be started: " + launched.status().message());
    ++rank.failures;
    rank.start_at = now + std::min(options_.last_retry, options_.first_retry << std::min(rank.failures - 1, 8));
    return;
  }
  rank.process = std::move(launched).value();
  if (devices_ != nullptr) {
    rank.join = std::make_unique<PeerJoin>(rank.id, rank.process.line, options_.peers, *devices_);
  }
  rank.state = State::kLoading;
  rank.last_pulse = system_clock().now();
}

// One that served is followed at once; starts that come to nothing are spaced.
void RankTeam::end(Rank& rank, const std::string& why, TimeNs now) {
  if (!stopping_) log_error(name_of(rank.id) + " is ended and started again: " + why);
  rank.process.line->close();
  ::close(rank.process.pulse_fd);
  rank.process.end();
  rank.join.reset();
  rank.process = {};
  rank.failures += rank.state == State::kServing ? 0 : 1;
  rank.state = State::kDown;
  rank.dropped.clear();
  const TimeNs pause = std::min(options_.last_retry, options_.first_retry << std::clamp(rank.failures - 1, 0, 8));
  rank.start_at = rank.failures == 0 ? now : now + pause;
  if (stopping_) return;
  ++restarts_;
  restarts_counter_.add();
}

}  // namespace foregate
